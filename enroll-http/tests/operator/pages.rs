//! Pages: their size, their cursors, and what happens while they are read.

use data_encoding::BASE64URL_NOPAD;
use serde_json::{Value, json};

use crate::support::Master;

/// Reads a list to its end, a page of `limit` at a time; `between` runs after each page.
async fn read(
    master: &Master,
    path: &str,
    limit: usize,
    mut between: impl AsyncFnMut(usize),
) -> Vec<Value> {
    let (mut rows, mut cursor) = (Vec::new(), String::new());
    let joint = if path.contains('?') { '&' } else { '?' };
    for page in 0.. {
        let url = format!("{path}{joint}limit={limit}{cursor}");
        let answer = master.get(&url).await.is(200).json;
        let items = answer["items"].as_array().unwrap();
        assert!(items.len() <= limit);
        rows.extend(items.iter().cloned());
        let Some(next) = answer["next_cursor"].as_str() else {
            assert_eq!(answer["next_cursor"], Value::Null);
            break;
        };
        assert_eq!(items.len(), limit, "a page before another is full");
        assert!(BASE64URL_NOPAD.decode(next.as_bytes()).is_ok(), "{next}");
        cursor = format!("&cursor={next}");
        between(page).await;
    }
    rows
}

fn column(rows: &[Value], member: &str) -> Vec<String> {
    rows.iter().map(|row| row[member].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn b3_tokens_that_are_minted_meanwhile_neither_repeat_nor_hide_others() {
    let master = Master::start().await;
    let mint = async || {
        master.pass(1);
        let minted = master.post("/v1/tokens", json!({})).await.is(201).json;
        minted["id"].as_str().unwrap().to_owned()
    };
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(mint().await);
    }
    ids.reverse();
    let rows = read(&master, "/v1/tokens", 2, async |_| drop(mint().await)).await;
    assert_eq!(column(&rows, "id"), ids, "newest first, as of the first page");
}

#[tokio::test]
async fn nodes_that_come_and_go_meanwhile_neither_repeat_nor_hide_others() {
    let master = Master::start().await;
    let register = async |name: &str| {
        master.post("/v1/nodes", json!({ "name": name })).await.is(201);
    };
    for name in ["b", "d", "f", "h", "j"] {
        register(name).await;
    }
    let rows = read(&master, "/v1/nodes", 2, async |page| {
        if page == 0 {
            register("a").await;
            register("e").await;
            master.delete("/v1/nodes/d").await.is(204);
        }
    })
    .await;
    assert_eq!(column(&rows, "name"), ["b", "d", "e", "f", "h", "j"]);
}

#[tokio::test]
async fn every_list_has_the_same_pages() {
    let master = Master::start().await;
    let minted = master.post("/v1/tokens", json!({})).await.is(201).json;
    let text = minted["token"].as_str().unwrap();
    for name in ["w-1", "w-2", "w-3"] {
        drop(master.present(text, name).await);
        drop(master.present("enroll_nonsense", "w-1").await);
        master.post("/v1/tokens", json!({})).await.is(201);
        master.pass(1);
    }
    master.enroller.flush().await;
    let redemptions = format!("/v1/tokens/{}/redemptions", minted["id"].as_str().unwrap());
    for (path, least) in [
        ("/v1/tokens", 4),
        ("/v1/tokens?include_expired=true", 4),
        (&*redemptions, 3),
        ("/v1/nodes", 3),
        ("/v1/nodes?state=monitoring", 3),
        ("/v1/nodes/w-1/attempts", 4),
        ("/v1/admins", 4),
        ("/v1/events", 10),
    ] {
        let whole = read(&master, path, 500, async |_| ()).await;
        assert!(whole.len() >= least, "{path}: {}", whole.len());
        for limit in [1, 2, whole.len(), whole.len() + 1] {
            let again = read(&master, path, limit, async |_| ()).await;
            assert_eq!(again, whole, "{path} by {limit}");
        }
    }
}

#[tokio::test]
async fn a_page_has_fifty_rows_unless_it_is_said_otherwise() {
    let master = Master::start().await;
    for _ in 0..51 {
        master.post("/v1/tokens", json!({})).await.is(201);
    }
    let rows = async |query: &str| {
        let answer = master.get(&format!("/v1/tokens{query}")).await.is(200).json;
        answer["items"].as_array().unwrap().len()
    };
    assert_eq!((rows("").await, rows("?limit=500").await, rows("?limit=1").await), (50, 51, 1));
    for bad in ["0", "501", "-1", "x", "", "1.0", "99999999999"] {
        for path in ["/v1/tokens", "/v1/nodes", "/v1/admins", "/v1/events"] {
            let answer = master.get(&format!("{path}?limit={bad}")).await;
            let answer = answer.error(400, "validation_failed");
            assert!(answer.detail().contains("from 1 to 500"), "{}", answer.detail());
        }
    }
}

#[tokio::test]
async fn a_cursor_of_another_list_version_or_maker_is_refused() {
    let master = Master::start().await;
    for _ in 0..2 {
        master.post("/v1/tokens", json!({})).await.is(201);
    }
    let page = master.get("/v1/tokens?limit=1").await.is(200).json;
    let ours = page["next_cursor"].as_str().unwrap();
    master.get(&format!("/v1/tokens?cursor={ours}")).await.is(200);
    let plain = BASE64URL_NOPAD.decode(ours.as_bytes()).unwrap();
    let mut newer = plain.clone();
    newer[0] += 1;
    let cut = &plain[..plain.len() - 1];
    for bad in [
        BASE64URL_NOPAD.encode(&newer),
        BASE64URL_NOPAD.encode(cut),
        BASE64URL_NOPAD.encode(b"1"),
        format!("{ours}%3D"),
        "17".to_owned(),
        String::new(),
        "%00".to_owned(),
    ] {
        let answer = master.get(&format!("/v1/tokens?cursor={bad}")).await;
        answer.error(400, "validation_failed");
    }
    for other in ["/v1/nodes", "/v1/admins", "/v1/events", "/v1/nodes/a/attempts"] {
        let answer = master.get(&format!("{other}?cursor={ours}")).await;
        answer.error(400, "validation_failed");
    }
}
