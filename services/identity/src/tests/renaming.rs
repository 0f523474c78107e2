//! Accounts change their handles, and log in by them.

use std::time::Duration;

use http::StatusCode;

use super::{Fixture, Mode, on_each};

#[tokio::test]
async fn who_has_another_handle_logs_in_by_it() {
    on_each(async |fixture: Fixture| {
        let id = fixture.register("ann").await.id();
        fixture.settled().await;
        assert_eq!(fixture.rename(&id, "Bea").await.data()["username"], "Bea");
        assert_eq!(fixture.login("bea").await.status, StatusCode::OK);
        assert_eq!(fixture.login("ann").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(fixture.shown("bea").await.as_ref(), Some(&id));
        fixture.settled().await;
        // The old one is free.
        let other = fixture.register("ann").await.id();
        assert_eq!(fixture.shown("ann").await, Some(other));
        assert_eq!(fixture.rename(&id, "ann").await.status, 409);
        // A deactivated account keeps it.
        let login = fixture.login("bea").await;
        fixture.deactivate(login.text("access_token"), super::PASSWORD).await;
        assert_eq!(fixture.register("bea").await.status, StatusCode::CONFLICT);
        assert_eq!(fixture.login("BEA").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn a_handle_is_free_as_soon_as_its_owner_has_another_whatever_search_does() {
    on_each(async |fixture: Fixture| {
        for call in ["PUT search.index", "PUT search.rename"] {
            fixture.world.set(call, Mode::Down);
        }
        let id = fixture.register("ann").await.id();
        assert_eq!(fixture.rename(&id, "bea").await.data()["username"], "bea");
        let other = fixture.register("Ann").await;
        assert_eq!(other.status, StatusCode::CREATED, "{}", other.body);
        assert_eq!(fixture.register("ann").await.status, StatusCode::CONFLICT);
        assert_eq!(fixture.shown("ann").await, Some(other.id()));
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        assert_eq!(fixture.login("bea").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test]
async fn refused_at_any_step_the_handle_is_as_it_was() {
    on_each(async |fixture: Fixture| {
        let id = fixture.register("ann").await.id();
        fixture.settled().await;
        fixture.world.set("PUT identity.rename", Mode::Vetoed(403));
        assert_eq!(fixture.rename(&id, "bea").await.status, 403);
        // Away for too long, and then it has done it all the same.
        fixture.world.set("PUT identity.rename", Mode::AnswersLost);
        fixture.go(fixture.rename(&id, "bea")).await;
        assert_eq!(fixture.login("bea").await.status, StatusCode::OK);
        fixture.clock.advance(Duration::from_secs(31));
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.login("bea").await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
        assert_eq!(fixture.shown("ann").await, Some(id));
        assert_eq!(fixture.rows().await, [1, 1, 0, 0, 1]);
        assert_eq!(fixture.register("bea").await.status, StatusCode::CREATED);
    })
    .await;
}

#[tokio::test]
async fn a_handle_that_is_being_registered_is_taken() {
    on_each(async |fixture: Fixture| {
        let id = fixture.register("ann").await.id();
        fixture.world.set("PUT timelines.provision", Mode::Down);
        fixture.register_and_go("bea").await;
        assert_eq!(fixture.rename(&id, "BEA").await.status, 409);
        fixture.world.heal();
        fixture.settled().await;
        assert_eq!(fixture.login("bea").await.status, StatusCode::OK);
        assert_eq!(fixture.login("ann").await.status, StatusCode::OK);
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_who_registers_and_one_who_renames_do_not_both_get_a_handle() {
    on_each(async |fixture: Fixture| {
        let id = fixture.register("ann").await.id();
        fixture.settled().await;
        for handle in ["b1", "b2", "b3"] {
            let renamed = async {
                // Backing off is by the clock.
                loop {
                    tokio::select! {
                        reply = fixture.rename(&id, handle) => break reply,
                        () = async {
                            loop {
                                tokio::time::sleep(Duration::from_millis(20)).await;
                                fixture.clock.advance(Duration::from_millis(100));
                            }
                        } => {}
                    }
                }
            };
            let (registered, renamed) = tokio::join!(fixture.register(handle), renamed);
            fixture.settled().await;
            let mut statuses = [registered.status.as_u16(), renamed.status.as_u16()];
            statuses.sort_unstable();
            assert!(statuses == [200, 409] || statuses == [201, 409], "{statuses:?}");
            let holder = fixture.shown(handle).await;
            assert_eq!(holder.as_ref() == Some(&id), renamed.status == 200);
            assert_eq!(fixture.login(handle).await.status, StatusCode::OK);
            let [accounts, profiles, drafts, reservations, _] = fixture.rows().await;
            assert_eq!((accounts, drafts, reservations), (profiles, 0, 0));
        }
    })
    .await;
}
