//! Checks a public query, and makes of it what the owning service takes and what is to be
//! included beside its answer.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Parameters, Problem};

use crate::fields::{
    AUTHOR, EDITS, MEDIA_FIELDS, MENTIONED, PLACE_FIELDS, POLL_FIELDS, REFERENCED,
    REFERENCED_AUTHOR, REPLIED_TO_USER, TWEET_EXPANSIONS, TWEET_FIELDS, USER_EXPANSIONS,
    USER_FIELDS,
};

/// What the query of a route may hold.
#[derive(Debug)]
pub(crate) enum Query {
    /// Anything: the owner reads it by rules of its own.
    Unchecked,
    /// These parameters of the owner's.
    Plain(&'static [&'static str]),
    /// These, and what chooses fields and expansions of the tweets in the answer.
    Tweets(&'static [&'static str]),
    /// These, and what chooses fields and expansions of the users in the answer.
    Users(&'static [&'static str]),
}

/// A query that was in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The owner's query, without a question mark; may be empty.
    pub(crate) upstream: String,
    /// What to include, if anything.
    pub(crate) plan: Option<Plan>,
}

/// What to include beside the tweets of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    expansions: Fields,
    /// The fields of included tweets, separated by commas; may be empty.
    pub(crate) tweet_fields: String,
    /// The fields of included users, separated by commas; may be empty.
    pub(crate) user_fields: String,
}

impl Query {
    /// The names that the query may hold; `None` for any.
    pub(crate) fn names(&self) -> Option<Vec<&'static str>> {
        let (owners, ours) = self.split()?;
        Some([owners, ours].concat())
    }

    /// The owner's parameters and the gateway's.
    fn split(&self) -> Option<(&'static [&'static str], &'static [&'static str])> {
        const OF_TWEETS: [&str; 6] = [
            "expansions",
            "media.fields",
            "place.fields",
            "poll.fields",
            "tweet.fields",
            "user.fields",
        ];
        const OF_USERS: [&str; 3] = ["expansions", "tweet.fields", "user.fields"];
        match self {
            Self::Unchecked => None,
            Self::Plain(owners) => Some((owners, &[])),
            Self::Tweets(owners) => Some((owners, &OF_TWEETS)),
            Self::Users(owners) => Some((owners, &OF_USERS)),
        }
    }

    /// Reads a query, without its question mark; 400 with all that is wrong.
    pub(crate) fn check(&self, query: &str) -> Result<Checked, Problem> {
        let Some((owners, ours)) = self.split() else {
            return Ok(Checked { upstream: query.to_owned(), plan: None });
        };
        let mut upstream = form_urlencoded::Serializer::new(String::new());
        let mut checked_here = form_urlencoded::Serializer::new(String::new());
        let mut unknown = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if owners.contains(&&*name) {
                upstream.append_pair(&name, &value);
            } else if ours.contains(&&*name) {
                checked_here.append_pair(&name, &value);
            } else {
                unknown.push((name.into_owned(), value.into_owned()));
            }
        }
        let mut parameters = Parameters::parse(&checked_here.finish());
        let known = self.names().unwrap_or_default().join(",");
        for (name, value) in unknown {
            let message = format!("The query parameter [{name}] is not one of [{known}]");
            parameters.refuse(&name, vec![value], message);
        }
        let plan = match self {
            Self::Unchecked | Self::Plain(_) => None,
            Self::Tweets(_) => {
                let (plan, needed) = tweets(&mut parameters);
                append(&mut upstream, "tweet.fields", &needed);
                plan
            }
            Self::Users(_) => {
                let user_fields = users(&mut parameters);
                append(&mut upstream, "user.fields", &user_fields);
                None
            }
        };
        parameters.finish()?;
        Ok(Checked { upstream: upstream.finish(), plan })
    }
}

fn append(query: &mut form_urlencoded::Serializer<'_, String>, name: &str, list: &str) {
    if !list.is_empty() {
        query.append_pair(name, list);
    }
}

/// The names that a list chooses and those that something else needs, separated by commas.
fn list(
    parameters: &mut Parameters,
    name: &'static str,
    allowed: &[&'static str],
    needed: &[&str],
) -> String {
    let chosen = parameters.fields(name, allowed);
    let names = allowed.iter().copied();
    let names: Vec<_> = names.filter(|field| chosen.has(field) || needed.contains(field)).collect();
    names.join(",")
}

/// What to include, if anything, and the fields that the answer must have for that. As on X, the
/// ids that an expansion follows are in the answer even if no field asks for them.
fn tweets(parameters: &mut Parameters) -> (Option<Plan>, String) {
    let chosen = parameters.fields("expansions", &TWEET_EXPANSIONS);
    for (name, allowed) in [
        ("media.fields", MEDIA_FIELDS.as_slice()),
        ("place.fields", &PLACE_FIELDS),
        ("poll.fields", &POLL_FIELDS),
    ] {
        let _ignored_for_there_are_none = parameters.fields(name, allowed);
    }
    let mut plan = Plan {
        expansions: chosen,
        tweet_fields: String::new(),
        user_fields: list(parameters, "user.fields", &USER_FIELDS, &[]),
    };
    let needed: Vec<&str> = [
        (plan.has(AUTHOR) || plan.has(REFERENCED_AUTHOR), "author_id"),
        (plan.has(MENTIONED), "entities"),
        (plan.has(REPLIED_TO_USER), "in_reply_to_user_id"),
        (plan.has_referenced(), "referenced_tweets"),
    ]
    .into_iter()
    .filter_map(|(needed, field)| needed.then_some(field))
    .collect();
    let fields = list(parameters, "tweet.fields", &TWEET_FIELDS, &needed);
    plan.tweet_fields.clone_from(&fields);
    (plan.includes_anything().then_some(plan), fields)
}

/// The fields of users. Their expansions have nothing to include.
fn users(parameters: &mut Parameters) -> String {
    let _ignored_for_there_are_none = parameters.fields("expansions", &USER_EXPANSIONS);
    let _ignored_without_tweets = parameters.fields("tweet.fields", &TWEET_FIELDS);
    list(parameters, "user.fields", &USER_FIELDS, &[])
}

impl Plan {
    /// Whether this expansion was chosen.
    pub(crate) fn has(&self, expansion: &str) -> bool {
        self.expansions.has(expansion)
    }

    /// Whether referenced tweets are to be included: asked for, or on the way to their authors.
    pub(crate) fn has_referenced(&self) -> bool {
        self.has(REFERENCED) || self.has(REFERENCED_AUTHOR)
    }

    fn includes_anything(&self) -> bool {
        let others = [AUTHOR, EDITS, MENTIONED, REPLIED_TO_USER];
        self.has_referenced() || others.into_iter().any(|expansion| self.has(expansion))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(problem: &Problem) -> Vec<String> {
        let errors = problem.document()["errors"].as_array().unwrap();
        errors.iter().map(|error| error["message"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn the_owner_gets_its_own_parameters_only() {
        let query = Query::Tweets(&["ids", "max_results"]);
        let sent = "ids=1,2&ids=3&user.fields=url&tweet.fields=lang,created_at&media.fields=url";
        let checked = query.check(sent).unwrap();
        assert_eq!(checked.upstream, "ids=1%2C2&ids=3&tweet.fields=created_at%2Clang");
        assert_eq!(checked.plan, None);
        let query = Query::Users(&["ids"]);
        let checked = query.check("expansions=pinned_tweet_id&tweet.fields=text&ids=1").unwrap();
        assert_eq!(checked, Checked { upstream: "ids=1".to_owned(), plan: None });
    }

    #[test]
    fn expansions_bring_the_fields_that_they_follow() {
        let query = Query::Tweets(&[]);
        for (expansion, fields) in [
            (AUTHOR, "author_id"),
            (MENTIONED, "entities"),
            (REPLIED_TO_USER, "in_reply_to_user_id"),
            (REFERENCED, "referenced_tweets"),
            (REFERENCED_AUTHOR, "author_id%2Creferenced_tweets"),
        ] {
            let checked = query.check(&format!("expansions={expansion}")).unwrap();
            assert_eq!(checked.upstream, format!("tweet.fields={fields}"));
            assert!(checked.plan.is_some(), "{expansion}");
        }
        let checked = query.check("expansions=attachments.poll_ids").unwrap();
        assert_eq!(checked, Checked { upstream: String::new(), plan: None });
    }

    #[test]
    fn unknown_parameters_and_values_are_named_together() {
        let sent = "foo=1&expansions=author&user.fields=nick";
        let problem = Query::Tweets(&["ids"]).check(sent).unwrap_err();
        assert_eq!(problem.status(), 400);
        let messages = messages(&problem);
        assert_eq!(
            messages[0],
            "The query parameter [foo] is not one of [ids,expansions,media.fields,place.fields,\
             poll.fields,tweet.fields,user.fields]"
        );
        assert!(messages[1].contains("[author] is not one of [article.cover_media,"));
        assert!(messages[2].contains("[nick] is not one of [affiliation,"));
        assert_eq!(messages.len(), 3);
        assert!(Query::Plain(&[]).check("a=1").is_err());
        assert_eq!(Query::Unchecked.check("a=1&a=%32").unwrap().upstream, "a=1&a=%32");
    }
}
