//! `/i/apps`: the page on which a person sees which apps have access, and takes it back.
//!
//! There is no cookie: whoever shows the password gets a page whose buttons carry a ticket, which
//! stands for the password for some minutes. No other page has one, so none can press the buttons.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use axum::response::Response;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use http::StatusCode;
use pillion_chassis::{ClientAddress, Problem, UserId};

use crate::client::TokenRequest;
use crate::consent::{log_in_fields, meaning};
use crate::error::OAuthError;
use crate::html::{error_page, escaped, name, page, problem_page};
use crate::secret::Secret;
use crate::signer::after;
use crate::state::Identity;

/// How long the buttons of a page work.
const TICKET_TTL: Duration = Duration::from_mins(10);
const TITLE: &str = "Apps with access";

/// `GET`: asks for the account.
pub(crate) async fn show(State(identity): State<Arc<Identity>>) -> Response {
    log_in(&identity, "", None, StatusCode::OK)
}

/// `POST`: shows the apps of who shows a password, and takes access back.
pub(crate) async fn manage(
    State(identity): State<Arc<Identity>>,
    client: ClientAddress,
    request: Result<TokenRequest, OAuthError>,
) -> Response {
    let answer = match request {
        Ok(request) => identity.manage(client, &request).await,
        Err(error) => return error_page(StatusCode::BAD_REQUEST, TITLE, &error.into_text()),
    };
    answer.unwrap_or_else(problem_page)
}

impl Identity {
    async fn manage(
        &self,
        client: ClientAddress,
        request: &TokenRequest,
    ) -> Result<Response, Problem> {
        let text = |name| request.optional(name).map(Secret::reveal);
        let now = self.clock.now();
        let user_id = if let Some(ticket) = text("ticket") {
            let Some(user_id) = self.redeem(ticket) else {
                let message = "That took too long; enter your password again.";
                return Ok(log_in(self, "", Some(message), StatusCode::UNAUTHORIZED));
            };
            match (text("revoke"), text("everything")) {
                (Some(client_id), _) => {
                    self.store.revoke_authorization(user_id, client_id, now).await?;
                }
                (None, Some(_)) => self.store.log_out_everywhere(user_id, now).await?,
                (None, None) => {}
            }
            self.revoked.notify_waiters();
            user_id
        } else {
            let username = text("username").unwrap_or_default();
            let password = request.optional("password").cloned();
            let password = password.unwrap_or_else(|| Secret::presented(String::new()));
            match self.who_is(Some(username), password, client).await {
                Ok(Some(user_id)) => user_id,
                Ok(None) => {
                    let message = "The username or the password is wrong.";
                    let status = StatusCode::UNAUTHORIZED;
                    return Ok(log_in(self, username, Some(message), status));
                }
                Err(problem) if problem.status() == StatusCode::TOO_MANY_REQUESTS => {
                    return Ok(problem_page(problem));
                }
                Err(problem) => return Err(problem),
            }
        };
        self.list(user_id).await
    }

    async fn list(&self, user_id: UserId) -> Result<Response, Problem> {
        let all = self.store.authorizations(user_id, self.clock.now()).await?;
        let username = self.store.username(user_id).await?.unwrap_or_default();
        let ticket = self.ticket(user_id);
        let (service, account) = (name(&self.service_name), name(&format!("@{username}")));
        let mut html =
            format!("<h1>{TITLE}</h1><p>These apps can use the {service} account {account}.</p>");
        if all.is_empty() {
            html.push_str("<p>No app has access.</p>");
        }
        let begin = format!(
            "<form method=\"post\" action=\"/i/apps\"><input type=\"hidden\" name=\"ticket\" \
             value=\"{ticket}\">"
        );
        for app in &all {
            // Writing to a String cannot fail.
            let _ = write!(
                html,
                "<section class=\"app\"><h2>{}</h2><p class=\"by\">by {}, since {}</p><ul>",
                name(&app.name),
                name(&format!("@{}", app.owner)),
                escaped(app.since.to_string().get(..10).unwrap_or_default())
            );
            for scope in app.scopes.iter() {
                let _ = write!(html, "<li>{}</li>", escaped(meaning(scope)));
            }
            let _ = write!(
                html,
                "</ul>{begin}<button name=\"revoke\" value=\"{}\">Remove access</button></form>\
                 </section>",
                escaped(&app.client_id)
            );
        }
        let _ = write!(
            html,
            "<h2>Log out everywhere</h2><p>Ends all sessions of this account, on all devices and in \
             all apps.</p>{begin}<button name=\"everything\" value=\"yes\">Log out \
             everywhere</button></form>"
        );
        Ok(page(StatusCode::OK, TITLE, &html))
    }

    /// What stands for a user's password on a page, for some minutes.
    fn ticket(&self, user_id: UserId) -> String {
        let until = after(self.clock.now(), TICKET_TTL).as_secs();
        let contents = format!("{user_id}.{until}");
        let tag = URL_SAFE_NO_PAD.encode(self.vault.ticket(&contents));
        format!("{contents}.{tag}")
    }

    fn redeem(&self, ticket: &str) -> Option<UserId> {
        let (contents, tag) = ticket.rsplit_once('.')?;
        let (user_id, until) = contents.split_once('.')?;
        let presented = URL_SAFE_NO_PAD.decode(tag).ok()?;
        // Digests of the two are compared, so the time tells nothing about the tag.
        let expected = Secret::presented(URL_SAFE_NO_PAD.encode(self.vault.ticket(contents)));
        let presented = Secret::presented(URL_SAFE_NO_PAD.encode(presented));
        let genuine = presented.hash() == expected.hash();
        let in_time = until.parse::<u64>().is_ok_and(|until| self.clock.now().as_secs() < until);
        (genuine && in_time).then(|| user_id.parse().ok()).flatten()
    }
}

fn log_in(
    identity: &Identity,
    username: &str,
    message: Option<&str>,
    status: StatusCode,
) -> Response {
    let service = name(&identity.service_name);
    let mut html = format!(
        "<h1>{TITLE}</h1><p>Log in to see which apps can use your {service} account, and to take \
         that back.</p>"
    );
    // Writing to a String cannot fail.
    if let Some(message) = message {
        let _ = write!(html, "<p class=\"e\" role=\"alert\">{}</p>", escaped(message));
    }
    html.push_str("<form method=\"post\" action=\"/i/apps\">");
    let _ = log_in_fields(&mut html, &service, username);
    html.push_str("<button class=\"primary\">Log in</button></form>");
    page(status, TITLE, &html)
}
