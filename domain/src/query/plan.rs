//! Which rows a query has to look at.

use crate::query::Query;
use crate::query::fields::Kind;

/// What a store has to read to answer a query.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Plan<'a> {
    /// The rows with these keys: ids of users, or `cid`s of channels.
    Keys(Vec<String>),
    /// Users that others see online.
    Online,
    /// Channels with this member.
    Member(&'a str),
    /// All rows.
    All,
}

impl Plan<'_> {
    /// The name of the index, for the answer; `None` if there is none.
    pub fn index(&self, query: &Query) -> Option<&'static str> {
        match self {
            Self::Keys(_) => Some(query.filter.kind().key()),
            Self::Online => Some("online"),
            Self::Member(_) => Some("members"),
            Self::All => query.sort.is_by_key().then(|| query.filter.kind().key()),
        }
    }
}

impl Query {
    /// What a store has to read to answer the query. It does not depend on the cursor.
    pub fn plan(&self) -> Plan<'_> {
        let kind = self.filter.kind();
        let texts = |field| self.filter.texts(field);
        if let Some(keys) = texts(kind.key()) {
            return Plan::Keys(keys.into_iter().map(str::to_owned).collect());
        }
        match kind {
            Kind::Users if self.filter.requires("online") => Plan::Online,
            Kind::Users => Plan::All,
            Kind::Channels => match (texts("type").as_deref(), texts("id"), texts("members").as_deref()) {
                (Some([kind]), Some(ids), _) => Plan::Keys(ids.iter().map(|id| format!("{kind}:{id}")).collect()),
                (_, _, Some([member])) => Plan::Member(member),
                _ => Plan::All,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::query::filter::Filter;
    use crate::query::sort::Sort;

    fn query(kind: Kind, filter: &Value, sort: &Value) -> Query {
        let (filter, sort) = (Filter::parse(filter, kind).unwrap(), Sort::parse(sort, kind).unwrap());
        Query { filter, sort, limit: 10, after: None }
    }

    #[test]
    fn users_are_found_by_id_or_among_those_online() {
        let keys = |keys: &[&str]| Plan::Keys(keys.iter().map(|key| (*key).to_owned()).collect());
        for (filter, plan, index) in [
            (json!({}), Plan::All, Some("id")),
            (json!({"name": "x"}), Plan::All, Some("id")),
            (json!({"id": "john"}), keys(&["john"]), Some("id")),
            (json!({"id": {"$in": ["john", "jack", "john"]}, "online": true}), keys(&["jack", "john"]), Some("id")),
            (json!({"$and": [{"name": "x"}, {"$and": [{"id": {"$eq": "john"}}]}]}), keys(&["john"]), Some("id")),
            (json!({"id": {"$in": []}}), keys(&[]), Some("id")),
            (json!({"$or": [{"id": "john"}]}), Plan::All, Some("id")),
            (json!({"$nor": [{"id": "john"}]}), Plan::All, Some("id")),
            (json!({"id": {"$gt": "john"}}), Plan::All, Some("id")),
            (json!({"id": {"$in": ["john", null]}}), Plan::All, Some("id")),
            (json!({"online": true}), Plan::Online, Some("online")),
            (json!({"$and": [{"online": {"$eq": true}}]}), Plan::Online, Some("online")),
            (json!({"online": false}), Plan::All, Some("id")),
            (json!({"online": {"$ne": true}}), Plan::All, Some("id")),
            (json!({"members": "john"}), Plan::All, Some("id")),
        ] {
            let query = query(Kind::Users, &filter, &json!(null));
            assert_eq!((query.plan(), query.plan().index(&query)), (plan, index), "{filter}");
        }
        let by_name = query(Kind::Users, &json!({"age": {"$gt": 3}}), &json!({"name": 1}));
        assert_eq!((by_name.plan(), by_name.plan().index(&by_name)), (Plan::All, None));
    }

    #[test]
    fn channels_are_found_by_cid_or_by_member() {
        let keys = |keys: &[&str]| Plan::Keys(keys.iter().map(|key| (*key).to_owned()).collect());
        for (filter, plan, index) in [
            (json!({}), Plan::All, Some("cid")),
            (json!({"cid": "messaging:general"}), keys(&["messaging:general"]), Some("cid")),
            (json!({"type": "m", "id": {"$in": ["b", "a"]}, "members": "john"}), keys(&["m:a", "m:b"]), Some("cid")),
            (json!({"type": {"$in": ["m", "n"]}, "id": "a"}), Plan::All, Some("cid")),
            (json!({"id": "a"}), Plan::All, Some("cid")),
            (json!({"members": "john"}), Plan::Member("john"), Some("members")),
            (json!({"type": "m", "members": {"$in": ["john"]}}), Plan::Member("john"), Some("members")),
            (json!({"members": {"$in": ["john", "jack"]}}), Plan::All, Some("cid")),
            (json!({"members": {"$ne": "john"}}), Plan::All, Some("cid")),
        ] {
            let query = query(Kind::Channels, &filter, &json!(null));
            assert_eq!((query.plan(), query.plan().index(&query)), (plan, index), "{filter}");
        }
    }
}
