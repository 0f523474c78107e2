//! Checks a public query, and makes of it what the owning service takes and how its answer is
//! completed.

use pillion_chassis::parameters::Fields;
use pillion_chassis::{Parameters, Problem, TweetId};

use crate::fields::{
    AUTHOR, CONNECTION_STATUS, COUNT_FIELDS, MEDIA_FIELDS, MENTIONED, METRICS, PLACE_FIELDS,
    POLL_FIELDS, REFERENCED, REFERENCED_AUTHOR, REPLIED_TO_USER, TWEET_EXPANSIONS, TWEET_FIELDS,
    USER_EXPANSIONS, USER_FIELDS,
};

/// The parameter that names several things.
const IDS: &str = "ids";
/// X's bound for one look-up.
const ASKED_MAX: usize = 100;

/// Names of parameters that the owner of a route reads.
pub(crate) type Names = &'static [&'static str];

/// What the query of a route may hold, and by that what its answer is.
#[derive(Debug)]
pub(crate) enum Query {
    /// Anything: the owner reads it by rules of its own. The answer is the owner's.
    Unchecked,
    /// These parameters of the owner's. So is the answer.
    Plain(Names),
    /// These, and which numbers of tweets the answer is to have; it has all of them.
    Counts(Names),
    /// These, and what chooses fields and expansions of the tweets in the answer.
    Tweets(Items, Names),
    /// These, and what chooses fields and expansions of the users in the answer.
    Users(Items, Names),
    /// What X's API 1.1 has for `account/verify_credentials`. The answer is the caller in that
    /// version's form.
    Credentials,
    /// These, and what chooses fields and expansions of the tweets that the answer goes on with,
    /// one a line, for as long as the caller listens.
    Stream(Names),
}

/// What the owner answers, and what is done with those of its items that the caller may not see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Items {
    /// Nothing: the caller named the items by this parameter of the path or the query. An error
    /// for each that is gone or hidden.
    Asked(&'static str),
    /// Whole items, which the caller named by this parameter, and an error for each that is gone;
    /// there is another for each hidden one.
    Named(&'static str),
    /// Whole items of a list: hidden ones are left out.
    Whole,
    /// Ids of a list: hidden ones are left out.
    Ids,
    /// Ids of a list that is chosen for the caller: beside hidden ones, those by authors whom the
    /// caller blocks or mutes are left out.
    Feed,
    /// The caller, whole.
    Me,
    /// Ids of a list that the caller made; nobody is left out.
    Mine,
}

impl Items {
    /// Whether the owner answers whole items, with the fields that it is told.
    pub(crate) fn are_whole(self) -> bool {
        matches!(self, Self::Named(_) | Self::Whole | Self::Me)
    }
}

/// A query that was in order.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Checked {
    /// The owner's query, without a question mark; may be empty.
    pub(crate) upstream: String,
    /// The tweets that the query names.
    pub(crate) asked: Vec<TweetId>,
    /// How the owner's answer is completed, unless it is passed on as it is.
    pub(crate) plan: Option<Plan>,
}

/// What things an answer lists.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Tweets,
    Users,
}

impl Kind {
    /// X's word for one of them.
    pub(crate) fn word(self) -> &'static str {
        match self {
            Self::Tweets => "tweet",
            Self::Users => "user",
        }
    }
}

/// How an answer is completed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) kind: Kind,
    pub(crate) items: Items,
    expansions: Fields,
    /// The fields of tweets, separated by commas; may be empty.
    pub(crate) tweet_fields: String,
    /// The fields of users, separated by commas; may be empty.
    pub(crate) user_fields: String,
    /// Whether tweets, users show how often they were liked, followed and so on.
    pub(crate) tweet_metrics: bool,
    pub(crate) user_metrics: bool,
    /// Whether users show how the caller stands to them.
    pub(crate) connections: bool,
}

impl Query {
    /// The names that the query may hold; `None` for any.
    pub(crate) fn names(&self) -> Option<Vec<&'static str>> {
        let (owners, ours) = self.split()?;
        Some([owners, ours].concat())
    }

    /// The owner's parameters and the gateway's.
    fn split(&self) -> Option<(Names, Names)> {
        const OF_TWEETS: Names = &[
            "expansions",
            "media.fields",
            "place.fields",
            "poll.fields",
            "tweet.fields",
            "user.fields",
        ];
        const OF_USERS: Names = &["expansions", "tweet.fields", "user.fields"];
        const OF_CREDENTIALS: Names =
            &["include_email", "include_entities", "skip_status", "tweet_mode"];
        match self {
            Self::Unchecked => None,
            Self::Plain(owners) => Some((owners, &[])),
            Self::Counts(owners) => Some((owners, &["search_count.fields"])),
            Self::Tweets(_, owners) | Self::Stream(owners) => Some((owners, OF_TWEETS)),
            Self::Users(_, owners) => Some((owners, OF_USERS)),
            Self::Credentials => Some((&[], OF_CREDENTIALS)),
        }
    }

    /// Reads a query, without its question mark; 400 with all that is wrong.
    pub(crate) fn check(&self, query: &str) -> Result<Checked, Problem> {
        let Some((owners, ours)) = self.split() else {
            return Ok(Checked { upstream: query.to_owned(), asked: Vec::new(), plan: None });
        };
        let asked_here = matches!(self, Self::Tweets(Items::Asked(IDS), _));
        let mut upstream = form_urlencoded::Serializer::new(String::new());
        let mut checked_here = form_urlencoded::Serializer::new(String::new());
        let mut unknown = Vec::new();
        for (name, value) in form_urlencoded::parse(query.as_bytes()) {
            if asked_here && name == IDS {
                checked_here.append_pair(&name, &value);
            } else if owners.contains(&&*name) {
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
        let asked = if asked_here { parameters.list(IDS, ASKED_MAX) } else { Vec::new() };
        let plan = match *self {
            Self::Unchecked | Self::Plain(_) => None,
            Self::Credentials => {
                // They choose parts that nobody has here.
                for name in ours {
                    let _ignored = parameters.text(name);
                }
                None
            }
            Self::Counts(_) => {
                let _all_are_given = parameters.fields("search_count.fields", &COUNT_FIELDS);
                None
            }
            Self::Tweets(items, _) => Some(tweets(&mut parameters, items)),
            Self::Stream(_) => Some(tweets(&mut parameters, Items::Ids)),
            Self::Users(items, _) => Some(users(&mut parameters, items)),
        };
        parameters.finish()?;
        if let Some(plan) = plan.as_ref().filter(|plan| plan.items.are_whole()) {
            let (name, fields) = plan.fields();
            if !fields.is_empty() {
                upstream.append_pair(name, fields);
            }
        }
        Ok(Checked { upstream: upstream.finish(), asked, plan })
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

/// Whether a list that [`list`] made has this name.
fn has(list: &str, name: &str) -> bool {
    list.split(',').any(|field| field == name)
}

/// What tweets are to show and to include. As on X, the ids that an expansion follows are in the
/// answer even if no field asks for them.
fn tweets(parameters: &mut Parameters, items: Items) -> Plan {
    let expansions = parameters.fields("expansions", &TWEET_EXPANSIONS);
    for (name, allowed) in [
        ("media.fields", MEDIA_FIELDS.as_slice()),
        ("place.fields", &PLACE_FIELDS),
        ("poll.fields", &POLL_FIELDS),
    ] {
        let _ignored_for_there_are_none = parameters.fields(name, allowed);
    }
    let user_fields = list(parameters, "user.fields", &USER_FIELDS, &[]);
    let mut plan = Plan {
        kind: Kind::Tweets,
        items,
        expansions,
        tweet_fields: String::new(),
        tweet_metrics: false,
        user_metrics: has(&user_fields, METRICS),
        connections: has(&user_fields, CONNECTION_STATUS),
        user_fields,
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
    plan.tweet_fields = list(parameters, "tweet.fields", &TWEET_FIELDS, &needed);
    plan.tweet_metrics = has(&plan.tweet_fields, METRICS);
    plan
}

/// What users are to show. Their expansions have nothing to include.
fn users(parameters: &mut Parameters, items: Items) -> Plan {
    let _ignored_for_there_are_none = parameters.fields("expansions", &USER_EXPANSIONS);
    let _ignored_without_tweets = parameters.fields("tweet.fields", &TWEET_FIELDS);
    let user_fields = list(parameters, "user.fields", &USER_FIELDS, &[]);
    Plan {
        kind: Kind::Users,
        items,
        expansions: Fields::default(),
        tweet_fields: String::new(),
        tweet_metrics: false,
        user_metrics: has(&user_fields, METRICS),
        connections: has(&user_fields, CONNECTION_STATUS),
        user_fields,
    }
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

    /// The parameter that chooses the fields of the items, and what it is.
    fn fields(&self) -> (&'static str, &str) {
        match self.kind {
            Kind::Tweets => ("tweet.fields", &self.tweet_fields),
            Kind::Users => ("user.fields", &self.user_fields),
        }
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
        let sent = "ids=1,2&ids=3&user.fields=url&tweet.fields=lang,created_at&media.fields=url";
        let checked = Query::Tweets(Items::Whole, &["ids", "max_results"]).check(sent).unwrap();
        assert_eq!(checked.upstream, "ids=1%2C2&ids=3&tweet.fields=created_at%2Clang");
        // Who answers ids only has no fields.
        let checked = Query::Tweets(Items::Feed, &["ids"]).check(sent).unwrap();
        assert_eq!(checked.upstream, "ids=1%2C2&ids=3");
        let plan = checked.plan.unwrap();
        assert_eq!((&*plan.tweet_fields, &*plan.user_fields), ("created_at,lang", "url"));
        let sent = "expansions=pinned_tweet_id&tweet.fields=text&ids=1&user.fields=public_metrics";
        let checked = Query::Users(Items::Ids, &["ids"]).check(sent).unwrap();
        assert_eq!(checked.upstream, "ids=1");
        assert!(checked.plan.unwrap().user_metrics);
        let checked = Query::Users(Items::Me, &[]).check("user.fields=url").unwrap();
        assert_eq!(checked.upstream, "user.fields=url");
        assert!(!checked.plan.unwrap().user_metrics);
        let counts = Query::Counts(&["query"]);
        let sent = "query=a&search_count.fields=tweet_count,start";
        assert_eq!(counts.check(sent).unwrap().upstream, "query=a");
        assert!(counts.check("search_count.fields=x").is_err());
    }

    #[test]
    fn tweets_that_are_asked_for_are_known_here() {
        let query = Query::Tweets(Items::Asked("ids"), &["ids"]);
        let checked = query.check("ids=1,2,1&tweet.fields=lang").unwrap();
        assert_eq!((checked.upstream, checked.asked.len()), (String::new(), 2));
        let many = vec!["1"; 101].join(",");
        for (sent, message) in [
            ("ids=", "can not be empty"),
            ("", "can not be empty"),
            ("ids=a", "is not valid"),
            (&format!("ids={many}"), "not between 1 and 100"),
        ] {
            let problem = query.check(sent).unwrap_err();
            assert!(messages(&problem)[0].contains(message), "{sent}");
        }
    }

    #[test]
    fn expansions_bring_the_fields_that_they_follow() {
        for (expansion, fields) in [
            (AUTHOR, "author_id"),
            (MENTIONED, "entities"),
            (REPLIED_TO_USER, "in_reply_to_user_id"),
            (REFERENCED, "referenced_tweets"),
            (REFERENCED_AUTHOR, "author_id%2Creferenced_tweets"),
        ] {
            let query = Query::Tweets(Items::Whole, &[]);
            let checked = query.check(&format!("expansions={expansion}")).unwrap();
            assert_eq!(checked.upstream, format!("tweet.fields={fields}"));
            assert!(checked.plan.unwrap().has(expansion));
        }
        let checked = Query::Stream(&[]).check("expansions=attachments.poll_ids").unwrap();
        assert_eq!(checked.upstream, "");
        assert!(!checked.plan.unwrap().tweet_metrics);
    }

    #[test]
    fn unknown_parameters_and_values_are_named_together() {
        let sent = "foo=1&expansions=author&user.fields=nick";
        let problem = Query::Tweets(Items::Whole, &["ids"]).check(sent).unwrap_err();
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
