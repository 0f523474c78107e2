//! Who is calling: set by the auth plugin, read by handlers.

use std::collections::BTreeSet;
use std::fmt;

use axum::extract::FromRequestParts;
use http::request::Parts;

use crate::ids::UserId;
use crate::problem::Problem;

/// Whom a request comes from. The binary puts it into the request's extensions when the auth
/// plugin has set a caller; as an argument of a handler it makes the route answer 401 when
/// there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    /// The user that the client acts for; `None` for an app's own token.
    pub user_id: Option<UserId>,
    /// The client that holds the token.
    pub client_id: String,
    /// What the token is good for.
    pub scopes: Scopes,
}

/// A [`Caller`] that acts for a user. As an argument of a handler it makes the route answer 401
/// when there is no caller, and 403 when it is an app alone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserCaller {
    /// The user that the client acts for.
    pub user_id: UserId,
    /// The client that holds the token.
    pub client_id: String,
    /// What the token is good for.
    pub scopes: Scopes,
}

/// The scopes of a token, such as `tweet.read tweet.write`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Scopes(BTreeSet<String>);

impl Scopes {
    /// The scopes in the claim `scope`, which separates them by spaces.
    pub fn parse(claim: &str) -> Self {
        Self(claim.split(' ').filter(|scope| !scope.is_empty()).map(str::to_owned).collect())
    }

    /// Whether this scope is among them.
    pub fn has(&self, scope: &str) -> bool {
        self.0.contains(scope)
    }

    /// One by one, in alphabetical order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, scope) in self.iter().enumerate() {
            if index > 0 {
                f.write_str(" ")?;
            }
            f.write_str(scope)?;
        }
        Ok(())
    }
}

impl Caller {
    /// 403 unless the token has this scope. The auth plugin sees to the scopes of all routes;
    /// routes that only services may call ask again, so that a chain without it opens nothing.
    pub fn require(&self, scope: &str) -> Result<(), Problem> {
        if self.scopes.has(scope) {
            return Ok(());
        }
        Err(Problem::forbidden(format!("This route needs a token with the scope {scope}.")))
    }
}

impl UserCaller {
    /// 400 unless the user in the path, where X calls it `parameter`, is the caller: for the routes
    /// about the caller's own things.
    pub fn require_own(&self, parameter: &str, id: UserId) -> Result<(), Problem> {
        let own = self.user_id;
        if id == own {
            return Ok(());
        }
        let message = format!(
            "The `{parameter}` query parameter value [{id}] must be the same as the authenticating \
             user [{own}]"
        );
        Err(Problem::invalid(parameter, Some(&id.to_string()), message))
    }
}

impl<S: Sync> FromRequestParts<S> for Caller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        parts.extensions.get::<Self>().cloned().ok_or_else(|| {
            Problem::unauthorized(
                "This route needs a token: send the header `Authorization: Bearer TOKEN`.",
            )
        })
    }
}

impl<S: Sync> FromRequestParts<S> for UserCaller {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let Caller { user_id, client_id, scopes } =
            Caller::from_request_parts(parts, state).await?;
        let user_id = user_id.ok_or_else(Problem::unsupported_authentication)?;
        Ok(Self { user_id, client_id, scopes })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(caller: Option<Caller>) -> Parts {
        let mut request = http::Request::new(());
        if let Some(caller) = caller {
            request.extensions_mut().insert(caller);
        }
        request.into_parts().0
    }

    #[tokio::test]
    async fn no_caller_is_401_and_an_app_where_a_user_must_be_is_403() {
        let error = UserCaller::from_request_parts(&mut parts(None), &()).await.unwrap_err();
        assert_eq!(error.status(), 401);
        let app = Caller { user_id: None, client_id: "app".into(), scopes: Scopes::default() };
        assert_eq!(app.require("internal.saga").unwrap_err().status(), 403);
        let mut parts = parts(Some(app));
        assert!(Caller::from_request_parts(&mut parts, &()).await.is_ok());
        let error = UserCaller::from_request_parts(&mut parts, &()).await.unwrap_err();
        assert_eq!(error.status(), 403);
        assert_eq!(error.document()["title"], "Unsupported Authentication");
    }

    #[test]
    fn what_is_the_callers_own_is_nobody_elses() {
        let [ann, bob] = [11, 12].map(|id| UserId::new(id).unwrap());
        let caller =
            UserCaller { user_id: ann, client_id: "web".into(), scopes: Scopes::default() };
        assert!(caller.require_own("id", ann).is_ok());
        let problem = caller.require_own("source_user_id", bob).unwrap_err();
        let error = &problem.document()["errors"][0];
        assert_eq!(
            error["message"],
            "The `source_user_id` query parameter value [12] must be the same as the \
             authenticating user [11]"
        );
        assert_eq!(error["parameters"]["source_user_id"][0], "12");
    }

    #[test]
    fn scopes_come_from_the_claim() {
        let scopes = Scopes::parse("users.read  tweet.read");
        assert!(scopes.has("tweet.read") && !scopes.has("tweet"));
        assert_eq!(scopes.to_string(), "tweet.read users.read");
    }
}
