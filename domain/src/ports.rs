//! All ports of a store together, while their users still take them so.

use crate::directory::ports::{Accounts, ApiKeys, Services, Users};
use crate::presence::ports::States;
use crate::push::ports::{Bindings, Credentials, Notifications};

/// Everything but what is for pushes.
pub trait Store: Accounts + ApiKeys + Services + Users + States {}
impl<T: Accounts + ApiKeys + Services + Users + States> Store for T {}

/// Everything.
pub trait PushStore: Store + Bindings + Credentials + Notifications {}
impl<T: Store + Bindings + Credentials + Notifications> PushStore for T {}
