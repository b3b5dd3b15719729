//! The process tree, read from `/proc`.

use std::collections::BTreeMap;
use std::thread;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long processes have to vanish after SIGKILL, which only uninterruptible reads and writes
/// delay.
const KILL_PATIENCE: Duration = Duration::from_secs(5);

/// Every living process that `/proc` shows, by parent.
#[derive(Debug, Clone, Default)]
pub struct ProcessTree {
    children: BTreeMap<i32, Vec<i32>>,
}

impl ProcessTree {
    /// Reads the present tree. Processes that end meanwhile, and zombies, are not in it.
    pub fn snapshot() -> Self {
        let mut tree = Self::default();
        let Ok(entries) = fs_err::read_dir("/proc") else { return tree };
        let pids = entries
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().and_then(|n| n.parse::<i32>().ok()));
        for pid in pids {
            let stat = fs_err::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            if let Some(parent) = living_parent(&stat) {
                tree.children.entry(parent).or_default().push(pid);
            }
        }
        tree
    }

    /// All processes below this one, parents before children, without itself.
    pub fn descendants(&self, root: i32) -> Vec<i32> {
        let mut found = Vec::new();
        let mut pending = vec![root];
        while let Some(pid) = pending.pop() {
            let children = self.children.get(&pid).map_or(&[][..], Vec::as_slice);
            found.extend_from_slice(children);
            pending.extend_from_slice(children);
        }
        found
    }

    /// Of the processes below this one those that have none below them.
    pub fn leaves(&self, root: i32) -> Vec<i32> {
        let mut all = self.descendants(root);
        all.retain(|pid| !self.children.contains_key(pid));
        all
    }
}

/// The parent in a line of `/proc/<pid>/stat` (proc_pid_stat(5)), unless it is a zombie's or a
/// dead process's. The name, in parentheses, may itself hold any character.
fn living_parent(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace();
    let state = fields.next()?;
    let parent = fields.next()?.parse().ok()?;
    (!matches!(state, "Z" | "X" | "x")).then_some(parent)
}

/// Stops a process where it stands, so that it starts nothing more before it is killed.
pub fn freeze(pid: u32) {
    if let Ok(pid) = i32::try_from(pid) {
        // It may have ended already.
        let _ = kill(Pid::from_raw(pid), Signal::SIGSTOP);
    }
}

/// Kills everything that is below a process now, which itself may start something else at once.
/// Says whether there was something.
pub(crate) fn kill_once(root: i32) -> bool {
    let pids = ProcessTree::snapshot().descendants(root);
    for pid in &pids {
        // It may have ended already, which is what is wanted.
        let _ = kill(Pid::from_raw(*pid), Signal::SIGKILL);
    }
    !pids.is_empty()
}

/// Kills everything below a process, again and again until nothing is left: what is started
/// meanwhile dies in the next round. Where the process is a child subreaper, that includes what
/// made itself a session of its own.
pub fn kill_descendants(root: u32) {
    let Ok(root) = i32::try_from(root) else { return };
    let deadline = Instant::now() + KILL_PATIENCE;
    while kill_once(root) && Instant::now() <= deadline {
        thread::sleep(Duration::from_millis(2));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parents_are_read_whatever_the_name_holds() {
        assert_eq!(living_parent("7 (sh) S 4 7 7 0 -1"), Some(4));
        assert_eq!(living_parent("7 (a) R 1 (b) R 9 7 7"), Some(9));
        assert_eq!(living_parent("7 (sh) Z 4 7 7 0 -1"), None);
        assert_eq!(living_parent(""), None);
    }

    #[test]
    fn descendants_are_transitive() {
        let tree = ProcessTree {
            children: BTreeMap::from([(1, vec![2, 3]), (3, vec![4]), (4, vec![5]), (9, vec![10])]),
        };
        let mut found = tree.descendants(1);
        found.sort_unstable();
        assert_eq!(found, [2, 3, 4, 5]);
        assert!(tree.descendants(5).is_empty());
        let mut leaves = tree.leaves(1);
        leaves.sort_unstable();
        assert_eq!(leaves, [2, 5]);
    }

    #[test]
    fn a_child_of_this_process_is_seen() {
        let child = duct::cmd!("sleep", "1000").unchecked().start().unwrap();
        let pid = i32::try_from(child.pids()[0]).unwrap();
        let this = i32::try_from(std::process::id()).unwrap();
        assert!(ProcessTree::snapshot().descendants(this).contains(&pid));
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!ProcessTree::snapshot().descendants(this).contains(&pid));
    }
}
