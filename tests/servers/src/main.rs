//! Starts one server of each kind, says where they are, a line each, and keeps them until its
//! standard input ends or it is killed: for trying things out by hand.

use std::io::{Read as _, Write as _};

use pillion_test_servers::{Nats, Postgres, PostgresOptions, Redis};

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let postgres = Postgres::start(PostgresOptions::default()).await;
    let (nats, redis) = (Nats::start().await, Redis::start().await);
    let mut stdout = std::io::stdout();
    writeln!(stdout, "{}\n{}\n{}", postgres.database().await, nats.url(), redis.url())?;
    stdout.flush()?;
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
