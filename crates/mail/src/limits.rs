//! The sizes RFC 5321 §4.5.3.1 and RFC 1035 §2.3.4 fix for addresses, in octets, brackets and `@` as noted.

/// A local-part, at most (RFC 5321 §4.5.3.1.1).
pub const LOCAL_PART_OCTETS: usize = 64;
/// A domain name or address literal, at most (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_OCTETS: usize = 255;
/// One label of a domain name, at most (RFC 1035 §2.3.4).
pub const LABEL_OCTETS: usize = 63;
/// A path with its angle brackets (RFC 5321 §4.5.3.1.3 asks for 256); we take the longest that local-part and domain allow.
pub const PATH_OCTETS: usize = LOCAL_PART_OCTETS + 1 + DOMAIN_OCTETS + 2;
