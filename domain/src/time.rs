//! Points in time, in whole milliseconds of UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The text is not an RFC 3339 time with an offset.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("not a time: expected RFC 3339 with an offset, such as 2026-11-20T10:00:00.000Z")]
pub struct InvalidTime;

/// Returns the current time.
pub type Clock = fn() -> Timestamp;

/// A point in time: milliseconds since 1970-01-01T00:00:00Z. Stored as that number, shown as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// Earlier than every real time.
    pub const MIN: Self = Self(i64::MIN);
    /// Later than every real time: the end of a lease that never expires.
    pub const MAX: Self = Self(i64::MAX);

    /// 0001-01-01T00:00:00Z.
    const YEAR_1: Self = Self(-62_135_596_800_000);

    /// From milliseconds since the epoch.
    pub const fn from_millis(millis: i64) -> Self {
        Self(millis)
    }

    /// Milliseconds since the epoch.
    pub const fn as_millis(self) -> i64 {
        self.0
    }

    /// This time plus a duration; [`Timestamp::MAX`] on overflow.
    #[must_use]
    pub fn plus(self, duration: Duration) -> Self {
        Self(self.0.saturating_add(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// This time minus a duration; [`Timestamp::MIN`] on overflow.
    #[must_use]
    pub fn minus(self, duration: Duration) -> Self {
        Self(self.0.saturating_sub(i64::try_from(duration.as_millis()).unwrap_or(i64::MAX)))
    }

    /// The duration since `earlier`; zero if `earlier` is later.
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// `2026-11-20T10:00:00Z`: the only date format that the vendor's helper libraries parse.
    pub fn to_seconds(self) -> String {
        format!("{:.0}", self.clamped())
    }

    /// `Fri, 20 Nov 2026 10:00:00 +0000`: the date format of the vendor's 2010 API.
    pub fn to_rfc2822(self) -> String {
        let civil = self.clamped().to_zoned(jiff::tz::TimeZone::UTC);
        civil.strftime("%a, %d %b %Y %H:%M:%S %z").to_string()
    }

    /// The time, clamped to the years -9999 to 9999.
    fn clamped(self) -> jiff::Timestamp {
        let end = if self.0 < 0 { jiff::Timestamp::MIN } else { jiff::Timestamp::MAX };
        jiff::Timestamp::from_millisecond(self.0).unwrap_or(end)
    }
}

impl FromStr for Timestamp {
    type Err = InvalidTime;

    fn from_str(text: &str) -> Result<Self, InvalidTime> {
        // The library accepts more forms than RFC 3339 has, so the beginning is checked first.
        let bytes = text.as_bytes();
        let date_and_time = bytes.len() >= "2026-11-20T10:00:00Z".len()
            && bytes.len() <= "2026-11-20T10:00:00.000000000+00:00".len()
            && matches!(bytes[10], b'T' | b't')
            && bytes[16] == b':'
            && bytes[0].is_ascii_digit()
            && bytes.last().is_some_and(|last| matches!(last, b'Z' | b'z' | b'0'..=b'9'));
        if !date_and_time {
            return Err(InvalidTime);
        }
        let time = text.parse::<jiff::Timestamp>().map(|time| Self(time.as_millisecond())).map_err(|_| InvalidTime)?;
        // An offset can move a time into a year that RFC 3339 cannot write.
        if Self::YEAR_1 <= time { Ok(time) } else { Err(InvalidTime) }
    }
}

impl fmt::Display for Timestamp {
    /// RFC 3339 with milliseconds: `2026-11-20T10:00:00.000Z`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.3}", self.clamped())
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A time as people read it, for `#[serde(with = …)]`.
pub mod rfc3339 {
    use serde::de::{Deserialize, Deserializer, Error};
    use serde::ser::Serializer;

    use super::Timestamp;

    /// Writes it as [`Timestamp`]'s `Display` does.
    ///
    /// # Errors
    /// Those of the serializer.
    pub fn serialize<S: Serializer>(time: &Timestamp, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(time)
    }

    /// Reads it as [`Timestamp`]'s `FromStr` does.
    ///
    /// # Errors
    /// If it is no time.
    pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Timestamp, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(D::Error::custom)
    }

    /// A time that may be `null`.
    pub mod option {
        use serde::de::{Deserialize, Deserializer, Error};
        use serde::ser::Serializer;

        use super::Timestamp;

        /// As [`super::serialize`].
        ///
        /// # Errors
        /// Those of the serializer.
        pub fn serialize<S: Serializer>(time: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
            match time {
                Some(time) => super::serialize(time, serializer),
                None => serializer.serialize_none(),
            }
        }

        /// As [`super::deserialize`].
        ///
        /// # Errors
        /// If it is neither a time nor `null`.
        pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Timestamp>, D::Error> {
            let text = Option::<String>::deserialize(deserializer)?;
            text.map(|text| text.parse().map_err(D::Error::custom)).transpose()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_and_writes_rfc_3339() {
        let time: Timestamp = "2026-11-20T10:00:00.250Z".parse().unwrap();
        assert_eq!(time.to_string(), "2026-11-20T10:00:00.250Z");
        assert_eq!(time.to_seconds(), "2026-11-20T10:00:00Z");
        assert_eq!(time.to_rfc2822(), "Fri, 20 Nov 2026 10:00:00 +0000");
        assert_eq!("2026-11-20T11:00:00.250999+01:00".parse(), Ok(time));
        assert_eq!("0001-01-01T00:00:00Z".parse::<Timestamp>().unwrap(), Timestamp::YEAR_1);
        assert_eq!("2026-11-20T10:00:00Z".parse::<Timestamp>().unwrap().to_string(), "2026-11-20T10:00:00.000Z");
        // Fractions are cut off, not rounded.
        assert_eq!("2026-11-20T10:00:00.999Z".parse::<Timestamp>().unwrap().to_seconds(), "2026-11-20T10:00:00Z");
        assert_eq!(Timestamp::from_millis(-62_135_596_800_001 + 1).to_string(), "0001-01-01T00:00:00.000Z");
    }

    #[test]
    fn refuses_a_missing_offset_and_an_invalid_date() {
        for text in [
            "",
            "now",
            "1795171200000",
            "2026-11-20",
            "2026-11-20T10:00:00",
            "2026-11-20 10:00:00Z",
            "2026-11-20T10:00Z",
            "2026-13-20T10:00:00Z",
            "2026-02-30T10:00:00Z",
            "2026-11-20T25:00:00Z",
            "-002026-11-20T10:00:00Z",
            "0000-01-01T00:00:00Z",
            "0000-01-01T00:00:00+00:01",
            "0001-01-01T00:00:00+00:01",
            "2026-11-20T10:00:00Z[Europe/Berlin]",
            "2026-11-20T10:00:00.000000000Zzzzzzzzzzzzzzzzzzzzz",
        ] {
            assert_eq!(text.parse::<Timestamp>(), Err(InvalidTime), "{text:?}");
        }
    }

    #[test]
    fn minimum_and_maximum_do_not_overflow() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Timestamp::MAX.plus(day), Timestamp::MAX);
        assert_eq!(Timestamp::MIN.since(Timestamp::MAX), Duration::ZERO);
        assert!(Timestamp::MAX.to_string().starts_with("9999-12-"));
        assert!(Timestamp::from_millis(0).plus(Duration::MAX) == Timestamp::MAX);
    }
}
