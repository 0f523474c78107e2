//! What clients and proxies say about themselves, over real sockets.

use super::*;

/// A server that says which authority, cookies, path and client a handler sees.
async fn start_echo(server: Server) -> Running {
    let echo = get(|request: Request| async move {
        let header = |name: &str| request.headers().get(name).map(HeaderValue::as_bytes);
        let client = request.extensions().get::<ClientAddress>().map(|it| it.0.to_string());
        format!(
            "host={} authority={} cookie={} path={} client={}",
            header("host").unwrap_or_default().escape_ascii(),
            request.uri().authority().map(ToString::to_string).unwrap_or_default(),
            header("cookie").unwrap_or_default().escape_ascii(),
            request.uri(),
            client.unwrap_or_default(),
        )
    });
    start_router(Router::new().fallback_service(echo), server, Arc::default()).await
}

async fn once(running: &Running, bytes: impl AsRef<[u8]>) -> String {
    let mut stream = connect(running).await;
    stream.write_all(bytes.as_ref()).await.unwrap();
    read(&mut stream).await
}

fn behind_a_proxy() -> Server {
    Server { trusted_proxies: vec!["127.0.0.0/8".parse().unwrap()], ..quick() }
}

/// A `GET` that closes its connection, with further headers.
fn closing(headers: &str) -> String {
    format!("GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n{headers}\r\n")
}

#[tokio::test]
async fn s03_a_trusted_proxy_says_which_client_it_is() {
    let running = start_echo(behind_a_proxy()).await;
    let forwarded = closing("x-forwarded-for: 6.6.6.6, 198.51.100.7, 127.0.0.9\r\n");
    assert!(once(&running, forwarded).await.ends_with("client=198.51.100.7"));
    let unreadable = closing("x-forwarded-for: 6.6.6.6, who\r\n");
    assert!(once(&running, unreadable).await.ends_with("client=127.0.0.1"));
    // Every request of one connection has a client of its own.
    let mut stream = connect(&running).await;
    for client in ["198.51.100.1", "2001:db8::1"] {
        let head = format!("GET / HTTP/1.1\r\nhost: x\r\nx-forwarded-for: {client}\r\n\r\n");
        stream.write_all(head.as_bytes()).await.unwrap();
        let mut buffer = [0; 4_096];
        let length = stream.read(&mut buffer).await.unwrap();
        let text = String::from_utf8_lossy(&buffer[..length]).into_owned();
        assert!(text.ends_with(&format!("client={client}")), "{text}");
    }
}

#[tokio::test]
async fn s03_nobody_else_is_believed() {
    let others = vec!["192.0.2.0/24".parse().unwrap()];
    for trusted_proxies in [Vec::new(), others] {
        let proxy_protocol = !trusted_proxies.is_empty();
        let running = start_echo(Server { trusted_proxies, proxy_protocol, ..quick() }).await;
        let lies = "x-forwarded-for: 6.6.6.6\r\nforwarded: for=6.6.6.6\r\nx-real-ip: 6.6.6.6\r\n";
        assert!(once(&running, closing(lies)).await.ends_with("client=127.0.0.1"));
        let header = format!("PROXY TCP4 6.6.6.6 6.6.6.6 1 2\r\n{}", closing(""));
        assert!(once(&running, header).await.starts_with("HTTP/1.1 400"));
    }
}

#[tokio::test]
async fn s03_the_proxy_protocol_says_whose_connection_it_is() {
    let server = Server { proxy_protocol: true, connections_per_address: 1, ..behind_a_proxy() };
    let running = start_echo(server).await;
    let v1 = |client: &str| format!("PROXY TCP4 {client} 127.0.0.1 4711 80\r\n");
    let v2 = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\0\x0c\xc6\x33\x64\x08\x7f\0\0\x01\x12\x34\0\x50";
    let local = b"\r\n\r\n\0\r\nQUIT\n\x20\0\0\0";
    for (header, client) in [
        (v1("198.51.100.7").into_bytes(), "198.51.100.7"),
        (v2.to_vec(), "198.51.100.8"),
        (local.to_vec(), "127.0.0.1"),
        (b"PROXY UNKNOWN\r\n".to_vec(), "127.0.0.1"),
    ] {
        let request = [&header[..], closing("").as_bytes()].concat();
        let text = once(&running, request).await;
        assert!(text.ends_with(&format!("client={client}")), "{text}");
    }
    // A client cannot say more about itself than its connection does.
    let lie = format!("{}{}", v1("198.51.100.7"), closing("x-forwarded-for: 6.6.6.6\r\n"));
    assert!(once(&running, lie).await.ends_with("client=198.51.100.7"));
    // Limits by address are about clients: the proxy itself has as many connections as it likes.
    let mut first = connect(&running).await;
    first.write_all(v1("198.51.100.9").as_bytes()).await.unwrap();
    assert!(answer_to(&mut first, "/").await.contains("client=198.51.100.9"));
    let mut second = connect(&running).await;
    second.write_all(v1("198.51.100.9").as_bytes()).await.unwrap();
    closed(&mut second).await;
    let mut third = connect(&running).await;
    third.write_all(v1("198.51.100.10").as_bytes()).await.unwrap();
    assert!(answer_to(&mut third, "/").await.contains("client=198.51.100.10"));
}

#[tokio::test]
async fn s03_a_connection_without_its_header_is_closed() {
    let running = start_echo(Server { proxy_protocol: true, ..behind_a_proxy() }).await;
    assert_eq!(once(&running, closing("")).await, "");
    assert_eq!(once(&running, "PROXY TCP4 1.2.3.4\r\n").await, "");
    // And one that never sends it, after the time that a head has.
    let mut silent = connect(&running).await;
    silent.write_all(b"PROXY TCP4 1.2").await.unwrap();
    assert!(closed(&mut silent).await < Duration::from_secs(1));
    let page = running.metrics.page(&[]);
    assert!(
        page.contains(r#"pillion_connections_refused_total{reason="proxy_header"} 3"#),
        "{page}"
    );
}

#[tokio::test]
async fn s08_a_request_names_one_valid_host() {
    let running = start_echo(quick()).await;
    let hosts: [&[u8]; 10] = [
        b"",
        b"host: a\r\nhost: a\r\n",
        b"host: a b/\r\n",
        b"host: \xff\r\n",
        b"host: a,b\r\n",
        b"host: u@a\r\n",
        b"host: a:99999x\r\n",
        b"host:\r\n",
        b"host: [::1\r\n",
        b"Host: a\r\nHOST: b\r\n",
    ];
    for host in hosts {
        let request = [b"GET / HTTP/1.1\r\nconnection: close\r\n", host, b"\r\n"].concat();
        let text = once(&running, request).await;
        assert!(text.starts_with("HTTP/1.1 400"), "{}: {text}", host.escape_ascii());
        assert!(text.contains("application/problem+json"), "{text}");
    }
    let page = running.metrics.page(&[]);
    assert!(page.contains("pillion_requests_malformed_total 10"), "{page}");
    // Before HTTP/1.1 there need not be one.
    assert!(once(&running, "GET / HTTP/1.0\r\n\r\n").await.starts_with("HTTP/1.0 200"));
    let target = "GET http://evil/x HTTP/1.1\r\nhost: good\r\nconnection: close\r\n\r\n";
    let text = once(&running, target).await;
    assert!(text.contains("host=evil authority=evil "), "{text}");
    let userinfo = "GET http://u@a/x HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
    assert!(once(&running, userinfo).await.starts_with("HTTP/1.1 400"));
}

/// Sends a request with these header fields, `:authority` first, over HTTP/2, and gives the status
/// and body.
async fn over_http2(running: &Running, fields: &[(&str, &str)]) -> (u16, String) {
    let mut block = b"\x82\x84\x86".to_vec();
    for (name, value) in fields {
        // A literal without indexing, with a new name.
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    let mut stream = connect(running).await;
    let mut bytes = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    bytes.extend(frame(4, 0, 0, &[]));
    bytes.extend(frame(1, 5, 1, &block));
    stream.write_all(&bytes).await.unwrap();
    let (mut status, mut body) = (0, Vec::new());
    loop {
        let mut head = [0; 9];
        stream.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; usize::try_from(length).unwrap()];
        stream.read_exact(&mut payload).await.unwrap();
        match head[3] {
            // The static table has 200 at 8 and 400 at 12.
            1 => status = if payload[0] == 0x88 { 200 } else { 400 },
            0 => body.extend(payload),
            3 | 7 => panic!("reset or closed: {payload:?}"),
            _ => {}
        }
        if (head[3] == 1 || head[3] == 0) && head[4] & 1 == 1 {
            return (status, String::from_utf8(body).unwrap());
        }
    }
}

#[tokio::test]
async fn s08_http2_names_one_host() {
    let running = start_echo(quick()).await;
    let (status, body) = over_http2(&running, &[(":authority", "a"), ("host", "A:80")]).await;
    assert_eq!(status, 200, "{body}");
    assert!(body.contains("authority=a "), "{body}");
    assert_eq!(over_http2(&running, &[("host", "a")]).await.0, 200);
    for fields in [
        &[(":authority", "evil"), ("host", "good")][..],
        &[(":authority", "a"), ("host", "a"), ("host", "a")],
        &[("host", "a b")],
        &[],
    ] {
        let (status, body) = over_http2(&running, fields).await;
        assert_eq!(status, 400, "{fields:?}: {body}");
    }
}

#[tokio::test]
async fn s09_cookie_crumbs_are_joined_by_semicolons() {
    let running = start_echo(quick()).await;
    let fields = [(":authority", "a"), ("cookie", "a=1"), ("cookie", "b=2"), ("cookie", "c")];
    let (_, body) = over_http2(&running, &fields).await;
    assert!(body.contains("cookie=a=1; b=2; c "), "{body}");
}

#[tokio::test]
async fn s07_what_is_encoded_without_need_is_decoded_before_anything_sees_it() {
    let running = start_echo(quick()).await;
    let ask = async |path: &str| {
        let head = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        once(&running, head).await
    };
    let text = ask("/2/%75sers/%32127%2ffollowers?a=%61").await;
    assert!(text.contains("path=/2/users/2127%2Ffollowers?a=%61 "), "{text}");
    for broken in ["/%", "/%3", "/2/tweets/%3x"] {
        assert!(ask(broken).await.starts_with("HTTP/1.1 400"), "{broken}");
    }
    // The probes are no exception.
    assert!(ask("/health%7A").await.starts_with("HTTP/1.1 200"));
}
