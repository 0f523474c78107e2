//! Made-up users and who follows whom.

use std::collections::BTreeSet;

use pillion_chassis::UserId;

use crate::system::numbers::{Numbers, Weights};
use crate::workload;

/// How steeply popularity falls with a user's rank, and how much users differ in how many they
/// follow; about what is measured in social networks.
const POPULARITY_EXPONENT: f64 = 0.75;
const FOLLOWING_EXPONENT: f64 = 1.35;

/// Whom a user follows at least; the mean is four times as many.
const FOLLOWING_MIN: f64 = 5.0;

/// Users by rank: 0 is the most popular.
#[derive(Clone, Debug)]
pub(crate) struct Population {
    /// Whom each user follows.
    following: Vec<Vec<usize>>,
    popularity: Weights,
}

impl Population {
    /// Follows by a power law in both directions: a few are followed by very many, and a few
    /// follow very many.
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "a small positive number"
    )]
    pub(crate) fn power_law(users: usize) -> Self {
        let mut numbers = Numbers::new(users as u64);
        let popularity = Weights::power_law(users, POPULARITY_EXPONENT);
        let following_max = (users / 4).max(1);
        let following = (0..users)
            .map(|user| {
                let wanted = FOLLOWING_MIN * (1.0 - numbers.unit()).powf(-1.0 / FOLLOWING_EXPONENT);
                let wanted = (wanted as usize).min(following_max).min(users.saturating_sub(1));
                let mut following = BTreeSet::new();
                while following.len() < wanted {
                    let target = popularity.pick(&mut numbers);
                    if target != user {
                        following.insert(target);
                    }
                }
                following.into_iter().collect()
            })
            .collect();
        Self { following, popularity }
    }

    /// Everyone follows `following` others, picked blindly.
    pub(crate) fn even(users: usize, following: usize) -> Self {
        let mut numbers = Numbers::new(users as u64);
        let others = |user: usize| {
            let mut picked = BTreeSet::new();
            while picked.len() < following.min(users.saturating_sub(1)) {
                let target = numbers.below(users);
                if target != user {
                    picked.insert(target);
                }
            }
            picked.into_iter().collect()
        };
        let following = (0..users).map(others).collect();
        Self { following, popularity: Weights::power_law(users, 0.0) }
    }

    /// The first users are stars with these numbers of followers; nobody else is followed.
    pub(crate) fn stars(followers: &[usize]) -> Self {
        let stars = followers.len();
        let fans = followers.iter().copied().max().unwrap_or_default();
        let of_fan = |fan: usize| {
            let following = followers.iter().enumerate().filter(|(_star, count)| fan < **count);
            following.map(|(star, _count)| star).collect()
        };
        let following = (0..stars).map(|_| Vec::new()).chain((0..fans).map(of_fan)).collect();
        Self { following, popularity: Weights::power_law(stars + fans, 0.0) }
    }

    pub(crate) fn users(&self) -> usize {
        self.following.len()
    }

    pub(crate) fn follows(&self) -> usize {
        self.following.iter().map(Vec::len).sum()
    }

    /// Whom a user follows.
    pub(crate) fn following(&self, user: usize) -> &[usize] {
        self.following.get(user).map(Vec::as_slice).unwrap_or_default()
    }

    /// Who follows a user.
    pub(crate) fn followers(&self, user: usize) -> Vec<usize> {
        let follows = |other: &usize| self.following(*other).binary_search(&user).is_ok();
        (0..self.users()).filter(follows).collect()
    }

    /// The user whose number of followers is nearest to `wanted`.
    pub(crate) fn with_followers(&self, wanted: usize) -> usize {
        let mut counts = vec![0_usize; self.users()];
        for target in self.following.iter().flatten() {
            if let Some(count) = counts.get_mut(*target) {
                *count += 1;
            }
        }
        let nearest = counts.iter().enumerate().min_by_key(|(_, count)| count.abs_diff(wanted));
        nearest.map_or(0, |(user, _)| user)
    }

    /// Anyone.
    pub(crate) fn anyone(&self, numbers: &mut Numbers) -> usize {
        numbers.below(self.users())
    }

    /// Rather somebody popular.
    pub(crate) fn popular(&self, numbers: &mut Numbers) -> usize {
        self.popularity.pick(numbers)
    }
}

/// The id of a user.
pub(crate) fn user_id(user: usize) -> UserId {
    UserId::generated(workload::user_id(user as u64))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_power_law_has_stars_and_nobody_follows_oneself() {
        let population = Population::power_law(1_000);
        assert_eq!(population.users(), 1_000);
        let mean = population.follows() / 1_000;
        assert!((10..=40).contains(&mean), "{mean}");
        let (top, last) = (population.followers(0).len(), population.followers(999).len());
        assert!(top > 300 && last < 20, "{top} {last}");
        for user in 0..1_000 {
            assert!(!population.following(user).contains(&user));
            assert!(!population.following(user).is_empty());
        }
        assert_eq!(population.with_followers(1_000), 0);
        let again = Population::power_law(1_000);
        assert_eq!(again.following, population.following);
    }

    #[test]
    fn stars_have_the_followers_they_should() {
        let population = Population::stars(&[3, 10]);
        assert_eq!(population.users(), 12);
        assert_eq!(population.followers(0).len(), 3);
        assert_eq!(population.followers(1).len(), 10);
        assert_eq!(population.with_followers(9), 1);
        assert_eq!(Population::even(50, 7).follows(), 350);
    }
}
