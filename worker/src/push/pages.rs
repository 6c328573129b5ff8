//! Iterates over all bindings of a service, one page per message.
//!
//! After the first page the rest is divided into parts, and each part is its own chain of messages. A duplicate message
//! doubles the rest of its chain, so chains are kept short.

use reachability_domain::paging::{Cursor, PageRequest};
use reachability_domain::push::binding::{Binding, BindingFilter};
use reachability_domain::push::message::Span;
use reachability_domain::sid::{BindingSid, ServiceSid, Sid};
use reachability_domain::store::StoreError;

use super::Pusher;

/// How many bindings one message processes.
const BINDINGS_AT_ONCE: usize = 500;

/// Number of parts after the first page.
const PARTS: u128 = 64;

impl Pusher {
    /// The first page of bindings in a span, and the spans that remain.
    pub(super) async fn page(&self, service: ServiceSid, span: Span) -> Result<(Vec<Binding>, Vec<Span>), StoreError> {
        let position = span.after.map_or(Cursor::Start, Cursor::After);
        let page = PageRequest { position, limit: BINDINGS_AT_ONCE };
        let page = self.ports.bindings.bindings(service, &BindingFilter::default(), page).await?;
        let is_inside = |sid: BindingSid| span.until.is_none_or(|until| sid <= until);
        let last = page.items.last().map(|last| last.sid).filter(|last| page.more && is_inside(*last));
        let rest = match last {
            None => vec![],
            Some(last) if span == Span::default() => parts(last),
            Some(last) => vec![Span { after: Some(last), ..span }],
        };
        Ok((page.items.into_iter().filter(|binding| is_inside(binding.sid)).collect(), rest))
    }
}

/// The bindings after `last`, as spans. Sids of bindings begin with a hash, so the spans have about the same size.
fn parts(last: BindingSid) -> Vec<Span> {
    let size = u128::MAX / PARTS + 1;
    let bound = |part: u128| last.bits().max(part.saturating_mul(size).saturating_sub(1));
    let part = |part: u128| Span {
        after: Some(BindingSid::from_bits(bound(part))),
        until: (part + 1 < PARTS).then(|| BindingSid::from_bits(bound(part + 1))),
    };
    (0..PARTS).map(part).filter(|span| span.until != span.after).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_cover_everything_once() {
        for last in [0, 1, u128::MAX / 3, u128::MAX - 1] {
            let parts = parts(BindingSid::from_bits(last));
            assert_eq!(parts.first().and_then(|part| part.after), Some(BindingSid::from_bits(last)));
            assert_eq!(parts.last().map(|part| part.until), Some(None));
            for pair in parts.windows(2) {
                assert_eq!(pair[0].until, pair[1].after);
                assert!(pair[0].after < pair[0].until);
            }
        }
        assert_eq!(parts(BindingSid::from_bits(0)).len(), 64);
    }
}
