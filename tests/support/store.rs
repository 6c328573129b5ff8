//! All ports of a store together: what the tests of a whole store are given.

use reachability_domain::directory::ports::{Accounts, ApiKeys, DeletedServices, Services, Users};
use reachability_domain::presence::ports::States;
use reachability_domain::push::ports::{Bindings, Credentials, Notifications};

/// Everything but what is for pushes.
pub trait Store: Accounts + ApiKeys + Services + DeletedServices + Users + States {}
impl<T: Accounts + ApiKeys + Services + DeletedServices + Users + States> Store for T {}

/// Everything that a store has.
pub trait PushStore: Store + Bindings + Credentials + Notifications {}
impl<T: Store + Bindings + Credentials + Notifications> PushStore for T {}
