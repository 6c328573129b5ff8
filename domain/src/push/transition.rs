//! The effect of a command on a device's binding.

use crate::directory::configuration::Generation;
use crate::identity::Identity;
use crate::push::binding::Binding;
use crate::sid::BindingSid;

/// The effect of a command on a device. What a store writes for it is in [`crate::presence::device_writes`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transition {
    /// The new binding; `None` if the device has none afterwards.
    pub binding: Option<Binding>,
    /// The previous user and binding, if the device leaves them.
    pub leaves: Option<(Identity, BindingSid)>,
    /// The generation in which the registrations are announced by this; `None` if that does not change.
    pub announced_in: Option<Generation>,
}

impl Transition {
    /// The user whose state a store must read as the leaver's.
    pub fn leaver(&self) -> Option<&Identity> {
        self.leaves.as_ref().map(|(identity, _)| identity)
    }

    /// The user whose state a store must read as the owner's.
    pub fn owner(&self) -> Option<&Identity> {
        self.binding.as_ref().map(|binding| &binding.identity)
    }
}
