//! The id by which nvcc's tools tell what is in one object from what is in others.
//!
//! Where no function or variable of a source is seen by others, cudafe++ makes it of the folder's path
//! and of its own process's number, so that no two compiles give the same object. The object's name
//! takes their place: no two objects of a build share it, and every build has it.

use crate::artifact::Sha256;

/// The id for an object, where cudafe++ made one of its process:
/// `_HASH_LENGTH_SOURCE_FOLDER_PROCESS`. Any other has a symbol's hash in the place of the last two,
/// and stays.
pub(super) fn settled(id: &str, object: &str) -> Option<String> {
    let (hash, rest) = id.strip_prefix('_')?.split_once('_')?;
    let (length, rest) = rest.split_once('_')?;
    let (source, rest) = rest.split_at_checked(length.parse().ok()?)?;
    let (folder, process) = rest.strip_prefix('_')?.split_once('_')?;
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if folder.is_empty() || !is_number(process) {
        return None;
    }
    let object = Sha256::of(object).to_string();
    Some(format!("_{hash}_{length}_{source}_{}", &object[..16]))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_of_a_process_becomes_the_objects() {
        let settle = |id| settled(id, "/crosswheel/build/a.o");
        let of_object = settle("_fa4081ef_4_a_cu_d271a53e_16353").unwrap();
        assert!(of_object.starts_with("_fa4081ef_4_a_cu_"), "{of_object}");
        assert_eq!(settle("_fa4081ef_4_a_cu_12345678_7").as_ref(), Some(&of_object));
        assert_eq!(settle(&of_object), None);
        assert_ne!(settled("_fa4081ef_4_a_cu_d271a53e_16353", "b.o"), Some(of_object));
    }

    #[test]
    fn an_id_of_a_symbol_stays() {
        for id in ["_ee77d55b_9_b12_34_cu_df0bc4ed", "_aa27a30a_12_c_123_456_cu_54900003", "", "_"]
        {
            assert_eq!(settled(id, "a.o"), None, "{id}");
        }
    }
}
