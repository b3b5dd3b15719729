//! What the emulated Python said, line by line, and what it means.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::fault::{Fault, explain};
use super::wheel::{Kind, Listed, Subject};
use super::{Operator, ProveError, Torch};

/// How lines of output begin that the runner prints to be heard.
pub(super) const MARK: &str = "crosswheel: ";

/// The name of the attempt that lists operators.
const OPERATORS: &str = "(operators)";
/// How many of a dead process's last lines are told.
const LAST_LINES: usize = 5;

/// The name of the attempt that imports torch.
const TORCH: &str = "(torch)";

/// A module, and how its import went.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Module {
    /// As `import` takes it; a library's path in the wheel.
    pub name: String,
    /// What it is.
    pub kind: Kind,
    /// How it went.
    pub status: Status,
    /// The public functions of an extension module.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub functions: Vec<String>,
    /// Why it did not import.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<Fault>,
}

/// How an import went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// It imported.
    Imported,
    /// It imported by its file alone: the package around it did not.
    ImportedApart,
    /// It asks for a GPU while it is imported.
    NeedsGpu,
    /// It did not import, and the wheel is none the worse for it: a module of Python code that
    /// wants something optional.
    Noted,
    /// It did not import.
    Failed,
    /// The process had ended before.
    NotTried,
}

impl Module {
    /// Whether the wheel may be handed over as far as this module goes.
    pub fn passes(&self) -> bool {
        !matches!(self.status, Status::Failed | Status::NotTried)
    }
}

/// How the process ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// By itself or by a signal: its exit code, 128 + n for signal n.
    Exited(u8),
    /// It was stopped, having printed nothing for so long.
    Silent(Duration),
}

/// A line of the answer.
#[derive(Debug, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
enum Line {
    Python { version: String },
    Begin { name: String },
    End(Ended),
    Done,
}

/// The end of an attempt.
#[derive(Debug, Clone, Default, Deserialize)]
struct Ended {
    name: String,
    #[serde(default)]
    error: Vec<String>,
    #[serde(default)]
    functions: Vec<String>,
    #[serde(default)]
    apart: bool,
    #[serde(default)]
    version: String,
    #[serde(default)]
    cuda: String,
    #[serde(default)]
    operators: Vec<Operator>,
}

/// All of the answer.
#[derive(Debug)]
pub struct Answer {
    python: String,
    ended: BTreeMap<String, Ended>,
    /// What was begun last and did not end.
    under_way: Option<String>,
    done: bool,
    end: End,
    tail: Vec<String>,
}

/// The answer's meaning.
#[derive(Debug)]
pub struct Judged {
    /// The version of the Python that ran.
    pub python: String,
    /// The torch that it imported.
    pub torch: Option<Torch>,
    /// In the order of the wheel's list.
    pub modules: Vec<Module>,
    /// What torch knows since.
    pub operators: Vec<Operator>,
}

impl Answer {
    /// Reads the lines; the last one may be cut short where the process was killed.
    pub fn parse(text: &str, end: End, tail: Vec<String>) -> Result<Self, ProveError> {
        let mut answer = Self {
            python: String::new(),
            ended: BTreeMap::new(),
            under_way: None,
            done: false,
            end,
            tail,
        };
        for line in text.split_inclusive('\n').filter(|line| line.ends_with('\n')) {
            match serde_json::from_str(line).map_err(ProveError::Answer)? {
                Line::Python { version } => answer.python = version,
                Line::Begin { name } => answer.under_way = Some(name),
                Line::End(ended) => {
                    answer.under_way = None;
                    answer.ended.insert(ended.name.clone(), ended);
                }
                Line::Done => answer.done = true,
            }
        }
        match answer.python.is_empty() {
            true => Err(ProveError::NotStarted { tail: answer.tail }),
            false => Ok(answer),
        }
    }

    /// The torch that was imported.
    pub fn torch(&self) -> Result<Torch, ProveError> {
        match self.ended.get(TORCH) {
            Some(ended) if ended.error.is_empty() => {
                Ok(Torch { version: ended.version.clone(), cuda: ended.cuda.clone() })
            }
            Some(ended) => Err(ProveError::Torch { reason: ended.error.join("\n  from ") }),
            None => Err(ProveError::Torch { reason: self.death() }),
        }
    }

    /// What it means for the wheel, which was imported with or without torch.
    pub fn judge(self, subject: &Subject, with_torch: bool) -> Result<Judged, ProveError> {
        let torch = with_torch.then(|| self.torch()).transpose()?;
        let mut modules: Vec<Module> =
            subject.modules.iter().map(|listed| self.module(listed, torch.as_ref())).collect();
        // What killed the process after the last import still killed it.
        let unfinished = !self.done && modules.iter().all(Module::passes);
        if let Some(last) = modules.last_mut().filter(|_| unfinished) {
            last.status = Status::Failed;
            last.error = Some(explain(&[self.death()], torch.as_ref()));
        }
        let operators = self.ended.get(OPERATORS).map(|ended| ended.operators.clone());
        let operators = operators.unwrap_or_default();
        Ok(Judged { python: self.python, torch, modules, operators })
    }

    fn module(&self, listed: &Listed, torch: Option<&Torch>) -> Module {
        let (name, kind) = (listed.name.clone(), listed.kind);
        let module = |status, error| Module {
            name: name.clone(),
            kind,
            status,
            functions: Vec::new(),
            error,
        };
        let Some(ended) = self.ended.get(&listed.name) else {
            return match self.under_way.as_ref() == Some(&listed.name) {
                true => module(Status::Failed, Some(explain(&[self.death()], torch))),
                false => module(Status::NotTried, None),
            };
        };
        if ended.error.is_empty() {
            let status = if ended.apart { Status::ImportedApart } else { Status::Imported };
            return Module { functions: ended.functions.clone(), ..module(status, None) };
        }
        let fault = explain(&ended.error, torch);
        let status = match kind {
            _ if fault.needs_gpu => Status::NeedsGpu,
            Kind::Python => Status::Noted,
            _ => Status::Failed,
        };
        module(status, Some(fault))
    }

    /// How the process ended, in words.
    fn death(&self) -> String {
        let how = match self.end {
            End::Silent(limit) => format!("stopped: it did not end within {} s", limit.as_secs()),
            // 128 + SIGILL, SIGABRT, SIGKILL, SIGSEGV (signal(7)).
            End::Exited(132) => {
                "the process met an instruction that the processor does not have".into()
            }
            End::Exited(134) => "the process aborted".into(),
            End::Exited(137) => "the process was killed, most likely for want of memory".into(),
            End::Exited(139) => "the process crashed (segmentation fault)".into(),
            End::Exited(code) => format!("the process ended with exit code {code}"),
        };
        let said: Vec<&String> = self.tail.iter().filter(|line| !line.starts_with(MARK)).collect();
        let last = said.iter().rev().take(LAST_LINES).rev();
        last.fold(how, |text, line| format!("{text}\n{line}"))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::artifact::Sha256;

    fn subject() -> Subject {
        let listed = |name: &str, kind| Listed { name: name.into(), kind, path: String::new() };
        Subject {
            name: "a-1-cp311-cp311-linux_aarch64.whl".parse().unwrap(),
            path: "/a".into(),
            sha256: Sha256::of(""),
            requires: Vec::new(),
            requires_python: None,
            needed: BTreeSet::new(),
            modules: vec![
                listed("a", Kind::Package),
                listed("a._C", Kind::Extension),
                listed("a.extra", Kind::Python),
            ],
        }
    }

    fn judge(lines: &str, end: End, tail: &[&str]) -> Judged {
        let tail = tail.iter().map(|&line| line.to_owned()).collect();
        Answer::parse(lines, end, tail).unwrap().judge(&subject(), false).unwrap()
    }

    fn statuses(judged: &Judged) -> Vec<Status> {
        judged.modules.iter().map(|module| module.status).collect()
    }

    const PYTHON: &str = "{\"event\":\"python\",\"version\":\"3.11.2\"}\n";

    #[test]
    fn optional_python_is_a_note_and_an_extension_a_failure() {
        let lines = format!(
            "{PYTHON}\
             {{\"event\":\"begin\",\"name\":\"a\"}}\n{{\"event\":\"end\",\"name\":\"a\"}}\n\
             {{\"event\":\"end\",\"name\":\"a._C\",\"error\":[\"ImportError: x\"]}}\n\
             {{\"event\":\"end\",\"name\":\"a.extra\",\"error\":[\"ModuleNotFoundError: y\"]}}\n\
             {{\"event\":\"done\"}}\n"
        );
        let judged = judge(&lines, End::Exited(0), &[]);
        assert_eq!(statuses(&judged), [Status::Imported, Status::Failed, Status::Noted]);
        assert_eq!(judged.python, "3.11.2");
        assert_eq!(judged.modules.iter().filter(|module| module.passes()).count(), 2);
    }

    #[test]
    fn a_process_that_dies_blames_what_it_was_at() {
        let lines = format!(
            "{PYTHON}{{\"event\":\"end\",\"name\":\"a\"}}\n\
             {{\"event\":\"begin\",\"name\":\"a._C\"}}\n{{\"event\":\"en"
        );
        let judged = judge(
            &lines,
            End::Exited(134),
            &["terminate called", "crosswheel: begin a._C", "  what(): bad_alloc"],
        );
        assert_eq!(statuses(&judged), [Status::Imported, Status::Failed, Status::NotTried]);
        let error = judged.modules[1].error.as_ref().unwrap();
        assert!(
            error.message.ends_with("aborted\nterminate called\n  what(): bad_alloc"),
            "{error:?}"
        );
        assert!(!judged.modules[2].passes());
    }

    #[test]
    fn a_process_that_dies_at_its_end_is_a_failure_too() {
        let ends: String = ["a", "a._C", "a.extra"]
            .map(|name| format!("{{\"event\":\"end\",\"name\":\"{name}\"}}\n"))
            .concat();
        let judged = judge(&format!("{PYTHON}{ends}"), End::Exited(139), &[]);
        assert_eq!(statuses(&judged), [Status::Imported, Status::Imported, Status::Failed]);
    }

    #[test]
    fn a_python_that_did_not_start_says_why() {
        let tail = vec!["qemu: could not open".to_owned()];
        let error = Answer::parse("", End::Exited(255), tail).unwrap_err();
        assert!(error.to_string().ends_with("| qemu: could not open"), "{error}");
    }
}
