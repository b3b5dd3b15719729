//! What a built file needs and holds, and whether the target has it.
