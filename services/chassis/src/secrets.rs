//! Values that no error repeats: passwords, tokens and the like. An error goes to screens, logs
//! and bug reports, where a secret that was merely sent in the wrong form is still a secret.

use serde_json::error::Category;

/// What stands for a value that is not repeated.
pub const REDACTED: &str = "[redacted]";

/// Whether a value of this name is a secret. `name` is a parameter's name, or the path of a key in
/// a body: `credentials.password`, `passwords[0]`.
///
/// ```
/// use pillion_chassis::secrets::is_secret;
///
/// assert!(is_secret("client_secret") && is_secret("account.newPassword") && is_secret("code"));
/// assert!(!is_secret("pagination_token") && !is_secret("country_code"));
/// ```
pub fn is_secret(name: &str) -> bool {
    name.split(['.', '[', ']']).any(is_secret_key)
}

fn is_secret_key(key: &str) -> bool {
    const WHOLE: [&str; 12] = [
        "auth",
        "bearer",
        "code",
        "code_verifier",
        "cookie",
        "jwt",
        "key",
        "otp",
        "passwd",
        "pin",
        "pwd",
        "session",
    ];
    const PARTS: [&str; 9] = [
        "apikey",
        "api_key",
        "assertion",
        "authorization",
        "credential",
        "oauth_verifier",
        "password",
        "secret",
        "signature",
    ];
    // Where in a list one is: nobody's secret.
    const PAGES: [&str; 3] = ["next_token", "pagination_token", "previous_token"];
    let key = key.to_ascii_lowercase();
    let is_token = key.contains("token") && !PAGES.contains(&key.as_str());
    is_token || WHOLE.contains(&key.as_str()) || PARTS.iter().any(|part| key.contains(part))
}

/// What an error of reading JSON says is expected, without what was sent instead.
pub fn rule_of(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if error.classify() != Category::Data {
        // Where the text stops being JSON; such messages have nothing of it.
        return text;
    }
    if ["missing field", "unknown field", "duplicate field"].iter().any(|it| text.starts_with(it)) {
        return text;
    }
    // Serde's form is "invalid type: string \"…\", expected …"; the value may have the words, too.
    match text.rsplit_once(", expected ") {
        Some((_, rule)) => format!("expected {rule}"),
        None => format!("not valid at line {} column {}", error.line(), error.column()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn s19_rules_come_without_values() {
        let rule = |json: &str| rule_of(&serde_json::from_str::<u8>(json).unwrap_err());
        assert_eq!(rule("\"hunter2\""), "expected u8 at line 1 column 9");
        assert_eq!(rule("\"x, expected hunter2\""), "expected u8 at line 1 column 21");
        assert_eq!(rule("12345678"), "expected u8 at line 1 column 8");
        assert!(rule("\"hunter2").starts_with("EOF while parsing a string"));
    }

    #[test]
    fn s19_names_of_secrets_are_known() {
        for name in [
            "password",
            "new_password",
            "access_token",
            "token",
            "refresh_token",
            "client_secret",
            "code",
            "code_verifier",
            "a.b.password",
            "passwords[0].x",
            "Authorization",
            "oauth_signature",
            "client_assertion",
            "id_token_hint",
        ] {
            assert!(is_secret(name), "{name}");
        }
        for name in [
            "text",
            "next_token",
            "pagination_token",
            "username",
            "client_id",
            "keys",
            "encode",
            "code_challenge_method",
            "granularity",
            "body",
            "",
        ] {
            assert!(!is_secret(name), "{name}");
        }
    }
}
