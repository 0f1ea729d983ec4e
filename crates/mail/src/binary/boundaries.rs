//! The boundaries of the multiparts we are in (RFC 2046 §5.1.1).
//!
//! Cannot fail.

/// The outermost first.
#[derive(Debug, Default)]
pub(super) struct Boundaries(Vec<Frame>);

#[derive(Debug)]
struct Frame {
    boundary: Vec<u8>,
    /// Parts that do not say what they are are messages (RFC 2046 §5.1.5).
    digest: bool,
}

/// A line that separates parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Delimiter {
    /// Where two multiparts' boundaries begin a line, it is the longer one's; of equals the inner one's.
    boundary_octets: usize,
    depth: usize,
    closes: bool,
}

impl Boundaries {
    /// We are in one more; in how many that is.
    pub(super) fn enter(&mut self, boundary: Vec<u8>, digest: bool) -> usize {
        self.0.push(Frame { boundary, digest });
        self.0.len()
    }

    /// Whose delimiter the line is, which need not have come to its end.
    pub(super) fn delimiter(&self, line: &[u8]) -> Option<Delimiter> {
        let text = line.strip_prefix(b"--")?;
        let of = |(depth, frame): (usize, &Frame)| {
            let rest = text.strip_prefix(frame.boundary.as_slice())?;
            Some(Delimiter { boundary_octets: frame.boundary.len(), depth, closes: rest.starts_with(b"--") })
        };
        self.0.iter().enumerate().filter_map(of).max()
    }

    /// Whether what begins like this is a delimiter, or may become one.
    pub(super) fn may_begin(&self, line: &[u8]) -> bool {
        let (hyphens, text) = line.split_at_checked(2).unwrap_or((line, &[]));
        let agrees = |frame: &Frame| frame.boundary.starts_with(text) || text.starts_with(&frame.boundary);
        b"--".starts_with(hyphens) && self.0.iter().any(agrees)
    }

    /// A part has ended, with all that was open in it. Another begins, in a digest or not; none, where that was the last.
    pub(super) fn leave(&mut self, Delimiter { depth, closes, .. }: Delimiter) -> Option<bool> {
        self.0.truncate(if closes { depth } else { depth + 1 });
        self.0.last().filter(|_| !closes).map(|frame| frame.digest)
    }
}
