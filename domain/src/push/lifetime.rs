//! For how long a registration counts.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::push::channel::Channel;
use crate::time::Timestamp;

/// For how many days a registration counts after the app last registered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Lifetime(u16);

impl Lifetime {
    /// A year: Notify's `P1Y`, and what earlier versions had for every registration.
    pub const YEAR: Self = Self(365);

    /// After so many days without a connection to the device, Google expires its token:
    /// <https://firebase.google.com/docs/cloud-messaging/manage-tokens>.
    const OF_GOOGLE: Self = Self(270);

    /// The longest one for devices of this channel, which is also the default.
    pub fn longest(channel: Channel) -> Self {
        match channel.canonical() {
            Channel::Apn => Self::YEAR,
            Channel::Fcm | Channel::Gcm => Self::OF_GOOGLE,
        }
    }

    /// This many days; `None` if that is less than a day, or more than this channel's longest.
    pub fn new(channel: Channel, days: u16) -> Option<Self> {
        Some(Self(days)).filter(|it| Self(1) <= *it && *it <= Self::longest(channel))
    }

    /// The number of days.
    pub fn days(self) -> u16 {
        self.0
    }

    /// The same as a duration.
    pub fn duration(self) -> Duration {
        Duration::from_secs(u64::from(self.0) * 86_400)
    }

    /// When a registration made at this time ends.
    pub fn end(self, registered_at: Timestamp) -> Timestamp {
        registered_at.plus(self.duration())
    }

    /// Whether it is what earlier versions had, which stored none.
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
    pub(crate) fn is_year(&self) -> bool {
        *self == Self::YEAR
    }
}

impl Default for Lifetime {
    /// That of registrations that were stored without one.
    fn default() -> Self {
        Self::YEAR
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_channel_has_its_longest() {
        for (channel, longest) in [(Channel::Apn, 365), (Channel::Fcm, 270), (Channel::Gcm, 270)] {
            assert_eq!(Lifetime::longest(channel).days(), longest);
            for (days, is_valid) in [(0, false), (1, true), (longest, true), (longest + 1, false), (u16::MAX, false)] {
                assert_eq!(Lifetime::new(channel, days).map(Lifetime::days), is_valid.then_some(days), "{channel:?}");
            }
        }
        let at = Timestamp::from_millis(1_795_132_800_000);
        assert_eq!(Lifetime(2).end(at), at.plus(Duration::from_secs(172_800)));
    }
}
