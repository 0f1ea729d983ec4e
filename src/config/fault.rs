//! What is wrong with a configuration file, for people, programs and editors.
//!
//! A [`Report`] prints one line a fault, `file:line: key: message`, in the order of the file, and serializes for
//! `check --json`. Nothing in it is secret: the file holds no secrets.

use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

/// Whether the file can be used all the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Severity {
    /// It must not be used.
    Error,
    /// It can be used; somebody should know.
    Warning,
}

/// One thing wrong, and where.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Fault {
    pub(crate) severity: Severity,
    /// Counted from one; none when what is wrong is something that is not there.
    pub(crate) line: Option<usize>,
    /// In characters, counted from one.
    pub(crate) column: Option<usize>,
    /// With its tables, as in `gate.max_inbound`; empty for a fault of syntax.
    pub(crate) key: String,
    /// What is wrong and what to write.
    pub(crate) message: String,
}

/// A fault that a rule found, before its place in the file is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    pub(crate) severity: Severity,
    pub(crate) key: String,
    /// Which element, for a list.
    pub(crate) index: Option<usize>,
    pub(crate) message: String,
}

/// Everything wrong with one file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Report {
    pub(crate) file: PathBuf,
    /// In the order of the file; what has no line comes last.
    pub(crate) faults: Vec<Fault>,
}

impl Finding {
    pub(crate) fn error(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Error, key: key.into(), index: None, message: message.into() }
    }

    pub(crate) fn warning(key: impl Into<String>, message: impl Into<String>) -> Self {
        Self { severity: Severity::Warning, ..Self::error(key, message) }
    }

    pub(crate) fn at(self, index: usize) -> Self {
        Self { index: Some(index), ..self }
    }
}

impl Report {
    pub(crate) fn new(file: &Path, mut faults: Vec<Fault>) -> Self {
        faults.sort_by_key(|fault| (fault.line.is_none(), fault.line, fault.column));
        Self { file: file.into(), faults }
    }

    /// With one warning more.
    pub(crate) fn warned(mut self, key: &str, line: Option<usize>, message: String) -> Self {
        self.faults.push(Fault { severity: Severity::Warning, line, column: None, key: key.into(), message });
        Self::new(&self.file, self.faults)
    }

    /// How many faults are such that the file must not be used.
    pub(crate) fn errors(&self) -> usize {
        self.faults.iter().filter(|fault| fault.severity == Severity::Error).count()
    }
}

impl fmt::Display for Fault {
    /// `line: key: message`, as far as there are line and key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "{line}: ")?;
        }
        if self.severity == Severity::Warning {
            f.write_str("warning: ")?;
        }
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.message)
    }
}

impl fmt::Display for Report {
    /// A line each, without a line end after the last.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (number, fault) in self.faults.iter().enumerate() {
            let (end, space) = (if number > 0 { "\n" } else { "" }, if fault.line.is_none() { " " } else { "" });
            write!(f, "{end}{}:{space}{fault}", self.file.display())?;
        }
        Ok(())
    }
}
