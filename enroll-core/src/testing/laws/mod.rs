//! The laws: every clause of the contracts in [`store`](crate::store), each as a function that
//! takes a fresh store and panics, naming the clause, when the store breaks it.
//!
//! They are run by [`store_conformance!`](crate::store_conformance).
#![expect(clippy::missing_panics_doc, reason = "to panic when it is broken is what a law is for")]

mod fleet;

pub mod commands;
pub mod enrollment;
pub mod heartbeats;
pub mod identities;
pub mod journal;
pub mod look_up;
pub mod masters;
pub mod names;
pub mod node_lists;
pub mod nodes;
pub mod races;
pub mod redelivery;
pub mod settings;
pub mod token_lists;
pub mod tokens;
pub mod touched;
pub mod uses;

/// Hands every law, by noun, to the macro named first, which also gets what stands in brackets.
#[doc(hidden)]
#[macro_export]
macro_rules! __store_laws {
    ($then:ident $given:tt) => {
        $crate::$then! {
            $given
            look_up:
                r1_look_up_finds_a_token_and_the_name_it_is_bound_to
                r1_the_name_asked_for_comes_before_the_bound_one
                r1_what_is_not_there_is_absent
                r1_a_name_shows_where_it_stands
                r1_a_prior_redemption_needs_token_claim_and_name
                r1_secret_finds_what_secret_did
                r1_a_bound_token_finds_its_redemption_without_a_name
                r1_the_newest_redemption_is_shown
                r1_a_prior_redemption_is_of_the_node_that_has_the_name
                r1_the_identities_shown_are_unrevoked_and_straight_from_it
                r1_credentials_come_back_as_they_were_written
                r1_reading_writes_nothing
            ;
            uses:
                r2_one_of_64_claimants_of_a_one_shot_token_wins
                r2_a_counted_token_serves_exactly_its_count
                r2_an_unlimited_token_serves_all
                r2_of_many_contested_tokens_each_is_spent_once
                r2_a_use_that_went_since_the_look_up_is_gone
                r2_the_instant_of_expiry_is_too_late
                r2_a_token_revoked_since_the_look_up_is_lost
                r2_a_token_replaced_since_the_look_up_is_lost
                r2_a_token_that_is_not_there_is_lost
                r2_redeem_racing_revoke_has_one_winner
                r2_redeem_racing_regenerate_has_one_winner
                r2_redeem_racing_delete_leaves_nothing_alive
                r2_two_calls_of_one_claimant_spend_one_use
                r2_the_store_has_no_clock_of_its_own
            ;
            names:
                r3_many_tokens_for_one_free_name_have_one_winner
                r3_two_tokens_for_one_free_name_have_one_winner
                r3_free_is_lost_once_the_name_is_held
                r3_free_is_lost_once_the_name_is_pending
                r3_a_token_minted_before_the_deletion_loses
                r3_a_token_minted_at_the_deletion_loses
                r3_a_token_minted_after_the_deletion_wins
                r3_a_secret_set_before_the_deletion_loses
                r3_a_secret_set_after_the_deletion_wins
                r3_pending_is_lost_once_the_name_is_held
                r3_pending_is_lost_once_the_name_is_another_nodes
                r3_held_is_lost_once_the_holder_is_gone
                r3_held_is_lost_once_the_holder_is_another
                r3_held_is_lost_once_an_attempt_to_fuse_began
                r3_secret_does_not_replace_what_a_token_made_meanwhile
                r3_of_two_that_replace_a_holder_one_has_the_name
            ;
            enrollment:
                r4_a_node_on_a_free_name_is_as_the_redemption_says
                r4_a_pending_node_keeps_what_the_operator_gave_it
                r4_reenrollment_keeps_the_node_and_begins_anew
                r4_reenrollment_revokes_identities_and_closes_windows
                r4_identities_are_given_the_nodes_id
                r4_the_redemption_is_on_record
                r4_no_claim_is_recorded_as_none
                r4_the_attempt_and_the_event_are_written
                r4_secret_enrolls_without_a_token
                r5_a_lost_redemption_wrote_nothing
                r5_the_snapshot_shows_the_winner
                r7_a_collision_writes_nothing
                r7_a_revoked_identity_keeps_its_serial
            ;
            redelivery:
                r6_an_open_window_gives_the_answer_again
                r6_a_replacement_revokes_the_earlier_one_of_its_kind
                r6_without_replacements_nothing_is_revoked
                r6_first_use_closes_the_window
                r6_revoke_closes_the_window
                r6_regenerate_closes_the_window
                r6_deletion_closes_the_window
                r6_reenrollment_closes_the_window
                r6_the_window_ends_after_a_day
                r6_a_collision_writes_nothing
                r6_redeliver_racing_first_use_has_one_winner
                r6_many_redeliveries_at_once_leave_one_key
            ;
            tokens:
                t1_a_token_comes_back_whole
                t1_a_bound_token_registers_an_unknown_name
                t1_a_deleted_name_is_registered_anew
                t1_a_name_that_is_there_keeps_its_node
                t1_minting_replaces_the_unspent_tokens_of_the_name
                t1_minting_closes_the_windows_of_the_node
                t1_minting_journals_its_events
                t1_many_mints_of_one_name_leave_one_token
                t2_a_refused_mint_wrote_nothing
                t2_each_rule_lets_through_what_it_allows
                t2_an_id_minted_twice_is_a_collision
                t3_a_token_is_revoked_once
                t3_what_no_longer_stands_is_not_revoked
                t3_an_unknown_token_is_told
                t3_many_revokes_at_once_revoke_once
                t4_a_revoke_closes_every_window_of_the_token
            ;
            token_lists:
                t5_tokens_are_listed_newest_first
                t5_tokens_past_their_time_are_left_out
                t5_pages_are_stable_under_concurrent_inserts
                t5_redemptions_are_listed_newest_first
            ;
            nodes:
                n1_one_node_has_a_name
                n2_deletion_takes_all_that_hangs_on_the_node
                n2_deletion_closes_the_windows_of_the_node
                n2_deletion_revokes_an_elapsed_token_too
                n2_a_token_killed_by_a_deletion_is_revoked
                n2_deleting_nobody_writes_nothing
                n2_many_deletions_at_once_delete_once
                n2_the_latest_deletion_counts
                n2_an_identity_of_a_deleted_node_is_not_used
                n_cordon_is_idempotent
                n_cordon_of_nobody_writes_nothing
                n_many_cordons_at_once_are_one_change
                n5_a_step_is_made_from_where_it_was_read
                n5_an_overtaken_step_writes_nothing
                n5_a_reenrollment_overtakes_a_step
                n5_of_many_steps_at_once_one_is_made
            ;
            heartbeats:
                n3_heartbeats_move_forward_only
                n3_facts_are_the_latest
                n3_a_heartbeat_of_an_earlier_enrollment_is_none
                n3_a_clock_that_was_ahead_overtakes_nothing
                n3_heartbeats_of_nodes_that_are_gone_are_left_out
                n3_heartbeats_beside_each_other_are_all_recorded
                n3_ids_of_another_kind_are_nobodys
            ;
            node_lists:
                n4_nodes_are_listed_by_name
                n4_filters_come_before_the_page
                n4_pages_are_stable_under_concurrent_inserts
                n4_degraded_nodes_are_told_from_the_others
                n6_every_node_is_counted_once
            ;
            identities:
                i1_an_identity_is_found_by_what_was_presented
                i1_the_node_is_the_present_one
                i1_a_revocation_is_seen_at_once
                i2_a_first_use_is_recorded_once
                i2_a_revoked_identity_is_not_used
                i2_a_successors_first_use_retires_the_predecessor
                i2_a_successors_first_use_closes_the_window
                i2_of_many_uses_at_once_one_is_the_first
                i3_a_renewal_adds_the_successor
                i3_what_is_revoked_is_not_renewed
                i3_a_second_renewal_replaces_an_unused_successor
                i3_a_collision_writes_nothing
                i4_the_successor_of_the_same_key_is_found
                i5_an_external_identity_is_found_by_its_name
                i6_of_many_those_are_named_that_hold
                i6_a_queued_command_is_told
            ;
            touched:
                i7_every_way_to_touch_a_node_names_it
                i7_where_nothing_was_taken_nobody_is_named
                i7_without_a_mark_it_cannot_tell
                i7_of_many_touched_at_once_none_is_left_out
            ;
            commands:
                q1_commands_are_handed_over_in_their_order
                q1_a_delivered_command_is_handed_over_again
                q1_an_open_command_is_told_with_the_member
                q2_so_many_wait_and_no_more
                q2_the_newest_finished_ones_are_kept
                q2_what_cannot_be_queued_writes_nothing
                q3_a_command_ends_once
                q3_of_many_ends_at_once_one_is_kept
                q4_with_a_node_its_commands_go
                q_commands_are_listed_newest_first
            ;
            races:
                i3_many_renewals_at_once_leave_one_successor
                i3_renew_racing_first_use_has_one_winner
                r4_renew_racing_a_reenrollment_leaves_nothing_of_the_old
                n2_renew_racing_a_deletion_leaves_nothing
                t4_revoke_racing_users_of_an_unlimited_token_closes_every_window
            ;
            settings:
                a1_an_operator_comes_back_whole
                a1_a_name_is_given_once
                a1_many_inserts_of_one_name_give_it_once
                a2_a_removed_operator_is_nobody
                a3_the_last_admin_stays
                a3_two_admins_do_not_remove_each_other
                c1_a_setting_is_written_by_who_knows_its_version
                c1_of_many_changes_at_once_one_is_made
                p_a_store_that_is_well_answers
            ;
            journal:
                j1_attempts_come_back_whole
                j1_the_newest_proven_attempts_of_a_name_are_kept
                j1_attempts_stay_when_their_node_goes
                j1_unproven_attempts_push_no_proven_one_out
                j1_unproven_attempts_share_one_ring
                j1_attempts_recorded_at_once_are_all_there
                j2_events_keep_their_order
                j2_events_of_operations_stand_in_their_order
                j2_an_event_of_any_instant_can_be_read
                j2_who_follows_the_journal_misses_nothing
                j2_the_newest_events_are_kept
            ;
            masters:
                m1_one_master_has_a_duty
                m1_of_many_that_ask_at_once_one_is_given_it
                m2_a_duty_that_is_not_kept_passes_on
                m2_a_duty_that_is_given_up_passes_on_at_once
                m3_a_change_is_heard_of_by_who_waits
                m3_a_change_that_was_made_before_is_not_missed
                m4_a_store_that_was_never_taken_back_has_no_fence
            ;
        }
    };
}
