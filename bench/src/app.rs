//! The application that every server runs, and what each puts around it.

use std::path::Path;

use anyhow::Result;
use axum::extract::Path as Parameter;
use axum::routing::{MethodRouter, delete, get, post};
use axum::{Json, Router};
use clap::ValueEnum;
use http::Method;
use pillion_host::InstanceMode;
use serde::Serialize;

use crate::native::Native;
use crate::wasm::{self, Tokens};
use crate::workload::{ROUTES, SERVICE};

/// A server under comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// The handler alone.
    Bare,
    /// Native middleware that checks every token.
    Native,
    /// Native middleware with a bounded cache of checked tokens.
    NativeCache,
    /// The three plugins; auth checks every token.
    Wasm,
    /// The three plugins; auth keeps a bounded cache of checked tokens.
    WasmCache,
    /// The three plugins, with instances that live for one request.
    WasmFresh,
}

impl Mode {
    /// As on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Bare => "bare",
            Self::Native => "native",
            Self::NativeCache => "native-cache",
            Self::Wasm => "wasm",
            Self::WasmCache => "wasm-cache",
            Self::WasmFresh => "wasm-fresh",
        }
    }

    /// The native server that does the same work.
    pub(crate) fn native(self) -> Option<Self> {
        match self {
            Self::Wasm | Self::WasmFresh => Some(Self::Native),
            Self::WasmCache => Some(Self::NativeCache),
            Self::Bare | Self::Native | Self::NativeCache => None,
        }
    }
}

/// The application in `mode`; `folder` gets the access log and the plugins' state.
pub(crate) fn app(mode: Mode, folder: &Path) -> Result<Router> {
    let log = folder.join(LOG);
    let plugins = |tokens, instances| -> Result<Router> {
        let state = folder.join(format!("state-{}", mode.name()));
        let host = wasm::host(&state, &log, 1)?;
        host.start(wasm::plugins(tokens, instances)?)?;
        Ok(router().layer(host.layer(SERVICE, wasm::routes())))
    };
    match mode {
        Mode::Bare => Ok(router()),
        Mode::Native => Ok(router().layer(Native::new(&log, Tokens::CheckAlways)?)),
        Mode::NativeCache => Ok(router().layer(Native::new(&log, Tokens::Cache)?)),
        Mode::Wasm => plugins(Tokens::CheckAlways, InstanceMode::Warm),
        Mode::WasmCache => plugins(Tokens::Cache, InstanceMode::Warm),
        Mode::WasmFresh => plugins(Tokens::CheckAlways, InstanceMode::Fresh),
    }
}

/// The access log's name in the server's folder.
pub(crate) const LOG: &str = "access.log";

fn router() -> Router {
    ROUTES
        .iter()
        .fold(Router::new(), |router, route| router.route(route.template, handler(&route.method)))
}

fn handler(method: &Method) -> MethodRouter {
    match *method {
        Method::POST => post(tweet),
        Method::DELETE => delete(tweet),
        _ => get(tweet),
    }
}

/// A small answer in the API's shape.
#[derive(Serialize)]
struct Answer {
    data: Tweet,
}

#[derive(Serialize)]
struct Tweet {
    id: String,
    text: &'static str,
}

async fn tweet(id: Option<Parameter<String>>) -> Json<Answer> {
    let id = id.map(|Parameter(id)| id).unwrap_or_default();
    let text = "just setting up my benchmark";
    Json(Answer { data: Tweet { id, text } })
}
