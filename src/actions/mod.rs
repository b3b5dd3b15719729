//! Actions: one compiler call each, admitted, measured and recorded.
