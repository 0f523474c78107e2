//! Whatever happens, and in whatever order the services' events come in, a home holds exactly
//! what its definition says.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use pillion_chassis::sql::query;
use pillion_chassis::testing::BACKENDS;
use pillion_chassis::testing::told::{self, tweet, user};
use pillion_events::{
    EngagementEvent, Event, GraphEvent, Mention, TweetEvent, TweetPosted, TweetRef, UserEvent,
};
use serde_json::json;

use super::harness::{AT, Harness, post, relation, retweet};
use crate::{Config, Limits};

const USERS: u64 = 6;

/// Numbers that look random and are the same every time.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> Option<T> {
        let count = u64::try_from(from.len()).unwrap();
        (count > 0).then(|| from[usize::try_from(self.roll(count)).unwrap()])
    }

    fn user(&mut self) -> u64 {
        self.roll(USERS) + 1
    }
}

#[derive(Debug, Clone)]
struct Tweet {
    author: u64,
    answers: Option<u64>,
    /// The tweet that it shares, and whose that is.
    shares: Option<(u64, u64)>,
    mentions: BTreeSet<u64>,
}

/// What is true, and what each service has recorded about it.
#[derive(Default)]
struct World {
    follows: BTreeSet<(u64, u64)>,
    tweets: BTreeMap<u64, Tweet>,
    deleted: BTreeSet<u64>,
    /// Who is deactivated, by which saga.
    hidden: BTreeMap<u64, i64>,
    last_id: u64,
    tweet_log: VecDeque<TweetEvent>,
    graph_log: VecDeque<GraphEvent>,
    engagement_log: VecDeque<EngagementEvent>,
    user_log: VecDeque<UserEvent>,
}

impl World {
    fn step(&mut self, dice: &mut Dice) {
        let (one, two) = (dice.user(), dice.user());
        if self.deleted.contains(&one) || self.deleted.contains(&two) {
            return;
        }
        match dice.roll(40) {
            0..=12 => self.post(one, dice),
            13..=16 => self.retweet(one, dice),
            17..=20 => self.delete(dice),
            21..=32 if one != two && self.follows.insert((one, two)) => {
                self.graph_log.push_back(GraphEvent::Followed(relation(one, two)));
            }
            33..=36 => self.unfollow(one, two),
            37..=38 if one != two => {
                self.graph_log.push_back(GraphEvent::Blocked(relation(one, two)));
                self.unfollow(one, two);
                self.unfollow(two, one);
            }
            39 if dice.roll(4) == 0 => self.delete_user(one),
            _ => {}
        }
    }

    fn post(&mut self, author: u64, dice: &mut Dice) {
        self.last_id += 1;
        let id = self.last_id;
        let to = (dice.roll(2) == 0).then(|| dice.pick(&self.originals())).flatten();
        let named = (dice.roll(3) == 0).then(|| dice.user());
        let mut mentions: BTreeSet<u64> = named.into_iter().collect();
        let mention = |id: &u64| Mention { user_id: user(*id), username: "u".to_owned() };
        self.tweet_log.push_back(TweetEvent::Posted(TweetPosted {
            replied_to: to
                .map(|(id, author)| TweetRef { tweet_id: tweet(id), author_id: user(author) }),
            mentions: mentions.iter().map(mention).collect(),
            ..post(id, author)
        }));
        let answers = to.map(|(_, author)| author);
        mentions.extend(answers.filter(|to| *to != author));
        self.tweets.insert(id, Tweet { author, answers, shares: None, mentions });
    }

    fn retweet(&mut self, by: u64, dice: &mut Dice) {
        let Some(of) = dice.pick(&self.originals()) else { return };
        self.last_id += 1;
        self.engagement_log.push_back(EngagementEvent::Retweeted(retweet(self.last_id, by, of)));
        let shares =
            Tweet { author: by, answers: None, shares: Some(of), mentions: BTreeSet::new() };
        self.tweets.insert(self.last_id, shares);
    }

    /// Those that can be answered and shared.
    fn originals(&self) -> Vec<(u64, u64)> {
        let tweets = self.tweets.iter().filter(|(_, tweet)| tweet.shares.is_none());
        tweets.map(|(id, tweet)| (*id, tweet.author)).collect()
    }

    fn delete(&mut self, dice: &mut Dice) {
        let ids: Vec<u64> = self.tweets.keys().copied().collect();
        let Some((id, gone)) = dice.pick(&ids).and_then(|id| self.tweets.remove_entry(&id)) else {
            return;
        };
        if let Some(of) = gone.shares {
            let event = EngagementEvent::Unretweeted(retweet(id, gone.author, of));
            self.engagement_log.push_back(event);
            return;
        }
        self.tweet_log.push_back(told::tweet_deleted(id, gone.author, AT));
        self.tweets.retain(|_, tweet| tweet.shares.is_none_or(|(of, _)| of != id));
    }

    fn unfollow(&mut self, one: u64, two: u64) {
        if self.follows.remove(&(one, two)) {
            self.graph_log.push_back(GraphEvent::Unfollowed(relation(one, two)));
        }
    }

    fn delete_user(&mut self, id: u64) {
        self.deleted.insert(id);
        self.hidden.remove(&id);
        self.follows.retain(|(one, two)| *one != id && *two != id);
        self.tweets.retain(|_, tweet| {
            tweet.author != id && tweet.shares.is_none_or(|(_, author)| author != id)
        });
        self.user_log.push_back(told::user_deleted(id, AT));
    }

    /// What may be at a reader's home, the newest first, retweets of the same tweet among it.
    fn eligible(&self, reader: u64) -> Vec<(u64, u64)> {
        let follows = |id: u64| id == reader || self.follows.contains(&(reader, id));
        let at_home = |tweet: &Tweet| {
            follows(tweet.author)
                && (tweet.author == reader
                    || tweet.answers.is_none_or(|to| to == tweet.author || follows(to)))
        };
        let hidden = |id: u64| self.hidden.contains_key(&id);
        let visible = |tweet: &Tweet| {
            !hidden(tweet.author)
                && tweet.shares.is_none_or(|(_, author)| !hidden(author))
                && (tweet.author == reader || tweet.answers.is_none_or(|to| !hidden(to)))
        };
        let tweets = self.tweets.iter().rev();
        tweets
            .filter(|(_, tweet)| at_home(tweet) && visible(tweet))
            .map(|(id, tweet)| (*id, tweet.shares.map_or(*id, |(of, _)| of)))
            .collect()
    }

    fn home(&self, reader: u64) -> Vec<u64> {
        // Each tweet once: where it is at home first, as itself or shared.
        let mut seen = BTreeSet::new();
        let mut ids = self.eligible(reader);
        ids.reverse();
        ids.retain(|(_, shared)| seen.insert(*shared));
        ids.into_iter().rev().map(|(id, _)| id).collect()
    }

    fn mentions(&self, of: u64) -> Vec<u64> {
        let tweets = self.tweets.iter().rev().filter(|(_, tweet)| {
            tweet.mentions.contains(&of) && !self.hidden.contains_key(&tweet.author)
        });
        tweets.map(|(id, _)| *id).collect()
    }
}

/// Delivers what the services recorded, each log in its order, the logs anyhow.
async fn deliver(h: &Harness, world: &mut World, dice: &mut Dice, share: usize) {
    async fn next<E: Event>(h: &Harness, source: &str, log: &mut VecDeque<E>) {
        if let Some(event) = log.pop_front() {
            h.deliver(source, &event).await;
        }
    }
    let waiting = |world: &World| {
        world.tweet_log.len()
            + world.graph_log.len()
            + world.engagement_log.len()
            + world.user_log.len()
    };
    let left = waiting(world) * share / 100;
    while waiting(world) > left {
        match dice.roll(4) {
            0 => next(h, "tweets", &mut world.tweet_log).await,
            1 => next(h, "graph", &mut world.graph_log).await,
            2 => next(h, "engagements", &mut world.engagement_log).await,
            _ => next(h, "users", &mut world.user_log).await,
        }
        if dice.roll(8) == 0 {
            h.settle_some().await;
        }
    }
}

/// Deactivates a user, or brings one back.
async fn toggle(h: &Harness, world: &mut World, user: u64, saga: i64) {
    let data = json!({"user_id": user.to_string()});
    if let Some(saga) = world.hidden.remove(&user) {
        h.undo(saga, "purge", &data).await.data();
    } else if h.step(saga, "purge", &data).await.status == 200 {
        world.hidden.insert(user, saga);
    }
}

/// How many tweets the homes show, of which each is what it is defined to be.
async fn check(h: &Harness, world: &World, what: &str) -> usize {
    let mut shown = 0;
    for id in (1..=USERS).filter(|id| !world.deleted.contains(id)) {
        if world.hidden.contains_key(&id) {
            assert_eq!(h.page(id, "").await.status, 401, "{what}");
            assert!(h.mentions(id).await.is_empty(), "{what}");
            continue;
        }
        let home = h.home(id).await;
        assert_eq!(home, world.home(id), "home of {id}, {what}");
        let mentions = world.mentions(id);
        let latest = mentions.len().min(100);
        assert_eq!(h.mentions(id).await, mentions[..latest], "mentions of {id}, {what}");
        shown += home.len();
    }
    shown
}

/// Of deleted users nothing is left but that they are.
async fn check_gone(h: &Harness, world: &World) {
    for id in &world.deleted {
        let (left,): (i64,) = query(
            "SELECT (SELECT count(*) FROM home WHERE $1 IN (user_id, author_id)
                                                  OR retweeted_author_id = $1
                                                  OR reply_to_author_id = $1
                                                     AND author_id <> user_id)
                  + (SELECT count(*) FROM mention WHERE $1 IN (user_id, author_id))
                  + (SELECT count(*) FROM post WHERE author_id = $1 OR retweeted_author_id = $1)
                  + (SELECT count(*) FROM follow WHERE $1 IN (follower_id, followee_id))
                  + (SELECT count(*) FROM hidden_user WHERE user_id = $1)
                  + (SELECT count(*) FROM account WHERE user_id = $1 AND NOT deleted)
                  + (SELECT count(*) FROM settling)
                  + (SELECT count(*) FROM account AS a
                     WHERE followers <> (SELECT count(*) FROM follow
                                         WHERE followee_id = a.user_id
                                           AND follower_id <> a.user_id))",
        )
        .bind(user(*id))
        .fetch_one(&h.test.database)
        .await
        .unwrap();
        assert_eq!(left, 0, "of {id}");
    }
}

#[tokio::test]
async fn homes_hold_what_they_are_defined_to_in_any_order_of_delivery() {
    for backend in BACKENDS {
        for (seed, fanout_followers_max) in [(1, 0), (2, 1), (3, 2), (4, 1_000)] {
            let h = Harness::start(backend, Config { fanout_followers_max }).await;
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed));
            let mut world = World::default();
            for round in 0..12 {
                for _ in 0..25 {
                    world.step(&mut dice);
                }
                // Some of it later.
                deliver(&h, &mut world, &mut dice, 40).await;
                let user = dice.user();
                if !world.deleted.contains(&user) {
                    toggle(&h, &mut world, user, round).await;
                }
            }
            deliver(&h, &mut world, &mut dice, 0).await;
            let what = format!("{backend:?}, seed {seed}");
            let hidden: Vec<u64> = world.hidden.keys().copied().collect();
            check(&h, &world, &what).await;
            h.check_rebuild().await;
            while h.settle_some().await {
                check(&h, &world, &what).await;
            }
            check_gone(&h, &world).await;
            for user in hidden {
                toggle(&h, &mut world, user, 0).await;
            }
            let shown = check(&h, &world, &what).await;
            assert!(shown > 30, "the homes are not all but empty");
            h.check_rebuild().await;
        }
    }
}

/// Checks homes that hold a few tweets only: of the newest so many that may be at home each tweet is
/// shown once, the newest first, and nothing else. How many tweets the homes show.
async fn check_limited(h: &Harness, world: &World, limit: usize, what: &str) -> usize {
    let mut shown = 0;
    for id in (1..=USERS).filter(|id| !world.deleted.contains(id)) {
        if world.hidden.contains_key(&id) {
            continue;
        }
        let mut newest = world.eligible(id);
        newest.truncate(limit);
        let home = h.home(id).await;
        assert!(home.is_sorted_by(|one, two| one > two), "home of {id}, {what}: {home:?}");
        let shares: BTreeMap<u64, u64> = newest.iter().copied().collect();
        let tweets: Vec<Option<&u64>> = home.iter().map(|id| shares.get(id)).collect();
        assert!(tweets.iter().all(Option::is_some), "{id}, {what}: {home:?} of {newest:?}");
        let once: BTreeSet<u64> = tweets.iter().flatten().map(|tweet| **tweet).collect();
        assert_eq!(once.len(), home.len(), "a repeat at home of {id}, {what}: {home:?}");
        let expected: BTreeSet<u64> = shares.into_values().collect();
        assert_eq!(once, expected, "home of {id}, {what}: {home:?} of {newest:?}");
        // Pages of other sizes are parts of the same.
        let page = h.page(id, "max_results=3").await.ids();
        assert_eq!(page[..], home[..home.len().min(3)], "home of {id}, {what}");
        shown += home.len();
    }
    shown
}

#[tokio::test]
async fn d01_homes_at_their_limit_hold_the_newest_whatever_leaves_them() {
    const LIMIT: u32 = 8;
    for backend in BACKENDS {
        for seed in 1..=4 {
            let config = Config { fanout_followers_max: 1_000 };
            let h = Harness::limited(backend, config, Limits { home_tweets_max: LIMIT }).await;
            let mut dice = Dice(0x9e37_79b9_7f4a_7c15_u64.wrapping_mul(seed + 100));
            let mut world = World::default();
            let (mut shown, mut full) = (0, 0);
            for round in 0..12 {
                for _ in 0..25 {
                    world.step(&mut dice);
                }
                deliver(&h, &mut world, &mut dice, 0).await;
                while h.settle_some().await {}
                let user = dice.user();
                if !world.deleted.contains(&user) {
                    toggle(&h, &mut world, user, round).await;
                }
                let what = format!("{backend:?}, seed {seed}, round {round}");
                shown += check_limited(&h, &world, LIMIT as usize, &what).await;
                full += (1..=USERS).filter(|id| world.eligible(*id).len() > LIMIT as usize).count();
            }
            assert!(shown > 60 && full > 10, "{shown} {full}: the limit was hardly reached");
            h.check_rebuild().await;
        }
    }
}
