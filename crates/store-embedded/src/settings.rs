//! What an operator may set for this store. Every field has a default that suits a small machine.

use mail::{ByteSize, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The store on this machine's disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, default)]
pub struct Settings {
    /// The size of one file of the log. Its room is taken when it is made, so that a commit never has to wait for the file system
    /// to find some. Between 64KiB and 1GiB; takes effect for files made from now on.
    pub segment: ByteSize,
    /// A message larger than this has a file of its own instead of a place in the log. At most a quarter of `segment`.
    pub inline_body: ByteSize,
    /// Memory for messages that are arriving or wait for their commit. Beyond it a message goes through a file of its own,
    /// so that memory stays bounded and nobody is refused.
    pub body_memory: ByteSize,
    /// Room to be left free on the disk. With less than that, new mail is answered 452; reading and deleting go on.
    pub reserve_free: ByteSize,
    /// After this time without a sign of life a POP3 session loses its maildrop to a newer session of the same user.
    pub takeover_grace: Span,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            segment: ByteSize::mib(64),
            inline_body: ByteSize::kib(256),
            body_memory: ByteSize::mib(64),
            reserve_free: ByteSize::mib(256),
            takeover_grace: Span::secs(30),
        }
    }
}

/// A setting that cannot be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum SettingsError {
    /// `segment` out of its range.
    #[error("segment = \"{0}\" must lie between 64KiB and 1GiB")]
    Segment(ByteSize),
    /// `inline_body` too large for the segment.
    #[error("inline_body = \"{inline_body}\" must be at most a quarter of segment = \"{segment}\"")]
    InlineBody {
        /// What was set.
        inline_body: ByteSize,
        /// The segment it must fit.
        segment: ByteSize,
    },
}

impl Settings {
    /// Whether the settings can be used together.
    ///
    /// # Errors
    /// Names the setting and its range.
    pub fn check(&self) -> Result<(), SettingsError> {
        if !(ByteSize::kib(64)..=ByteSize::mib(1024)).contains(&self.segment) {
            return Err(SettingsError::Segment(self.segment));
        }
        if self.inline_body.0 > self.segment.0 / 4 {
            return Err(SettingsError::InlineBody { inline_body: self.inline_body, segment: self.segment });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_read_checked_and_closed() {
        let settings: Settings = toml::from_str("segment = \"1MiB\"\ntakeover_grace = \"1m\"").unwrap();
        assert_eq!(settings, Settings { segment: ByteSize::mib(1), takeover_grace: Span::mins(1), ..Settings::default() });
        assert_eq!(settings.check(), Ok(()));
        assert!(toml::from_str::<Settings>("segments = \"1MiB\"").is_err());
        for (wrong, why) in [
            (Settings { segment: ByteSize(1000), ..Settings::default() }, "segment = \"1000B\" must lie between 64KiB and 1GiB"),
            (
                Settings { segment: ByteSize::kib(512), ..Settings::default() },
                "inline_body = \"256KiB\" must be at most a quarter of segment = \"512KiB\"",
            ),
        ] {
            assert_eq!(wrong.check().unwrap_err().to_string(), why);
        }
    }
}
