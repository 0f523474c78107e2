//! Plugins around anybody's axum app: `cargo run --example axum -- PLUGIN.wasm [CONFIG.json]`.

use axum::{Router, routing::get};
use pillion_host::{GenerationSpec, Host, HostOptions, PluginSpec, RouteTable};

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut plugin = PluginSpec::new(arguments.next().expect("the path of a plugin"));
    plugin.config = serde_json::from_str(arguments.next().as_deref().unwrap_or("{}"))?;

    let mut spec = GenerationSpec::default();
    spec.plugins.insert("mine".into(), plugin);
    spec.chains.insert("app".into(), vec!["mine".into()]);
    let host = Host::new(HostOptions::new(std::env::temp_dir().join("pillion-example")))?;
    host.start(spec)?;

    let routes = RouteTable::new([(http::Method::GET, "/hello/{name}".into())]);
    let app = Router::new()
        .route("/hello/{name}", get(|| async { "Hello\n" }))
        .layer(host.layer("app", routes));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:3000").await?;
    Ok(axum::serve(listener, app).await?)
}
