"""Sequences that once ended in a layer that differed from the source, each reduced to the steps that it takes.

They were found by the machine (machine.py) or told by users. A world is filled and at rest when its test begins.
"""

from __future__ import annotations

import pytest
from world import World

# What staging holds.


def test_a_row_whose_cursor_moves_back_arrives_as_it_is_now(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-1 06:00", variant=1)
    staged_world.rest()
    staged_world.put("orders", 3, at="-3 06:00", variant=2)
    staged_world.rest()


def test_a_row_whose_cursor_moves_back_to_a_day_that_is_extracted_alone_arrives(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-3 06:00", variant=2)
    staged_world.materialize(["orders"], first=3, last=3)
    staged_world.rest()


@pytest.mark.long
def test_a_row_whose_cursor_goes_to_the_future_and_back_arrives(staged_world: World) -> None:
    staged_world.move_cursor("orders", 3, to="next year")
    staged_world.rest()
    staged_world.put("orders", 3, at="-2 06:00", variant=4)
    staged_world.rest()


def test_a_row_dated_in_the_future_arrives(staged_world: World) -> None:
    staged_world.put("users", 9, at="tomorrow", variant=1)
    staged_world.rest()


def test_a_row_whose_cursor_becomes_infinite_or_null_or_leaves_the_partitions_is_gone(staged_world: World) -> None:
    for key, moment in enumerate(("infinity", "null", "before the start", "-infinity"), start=1):
        staged_world.move_cursor("orders", key, to=moment)
    staged_world.rest()


def test_a_deleted_row_is_gone(staged_world: World) -> None:
    staged_world.delete("orders", 2)
    staged_world.rest()


def test_rows_of_a_whole_day_that_are_deleted_are_gone(staged_world: World) -> None:
    staged_world.put("order_items", 3, at="-2 06:00")
    staged_world.rest()
    staged_world.delete_day("order_items", 2)
    staged_world.rest()


@pytest.mark.long
def test_a_deleted_row_is_gone_after_its_day_was_materialized_by_hand(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-2 06:00")
    staged_world.put("orders", 3, at="-1 06:00")
    staged_world.rest()
    staged_world.delete("orders", 3)
    staged_world.materialize(["orders"], first=1, last=1)
    staged_world.rest()


def test_a_row_that_gets_another_key_leaves_nothing_under_the_old_one(staged_world: World) -> None:
    staged_world.change_key("products", 2, new=20, at="0 00:00")
    staged_world.rest()


@pytest.mark.long
def test_a_key_that_is_changed_without_the_cursor_arrives(staged_world: World) -> None:
    staged_world.change_key("products", 2, new=20)
    staged_world.rest()


def test_a_row_does_not_vanish_while_its_old_day_is_extracted_before_its_new_one(staged_world: World) -> None:
    staged_world.put("users", 1, at="-4 06:00")
    staged_world.rest()
    staged_world.put("users", 1, at="-1 06:00", variant=2)
    staged_world.materialize(["users"], first=4, last=4, layers=["lake", "staging"])
    staged_world.rest()


def test_a_row_that_is_changed_without_its_cursor_arrives(staged_world: World) -> None:
    staged_world.edit_quietly("products", 1, variant=7)
    staged_world.rest()


def test_new_content_under_the_same_keys_and_cursors_arrives_after_a_truncate(staged_world: World) -> None:
    staged_world.truncate_and_reload("orders", "new content")
    staged_world.rest()


@pytest.mark.long
def test_a_truncate_that_brings_back_half_of_the_rows_takes_away_the_others(staged_world: World) -> None:
    staged_world.truncate_and_reload("orders", "every other row")
    staged_world.rest()


@pytest.mark.long
def test_an_emptied_table_is_empty(staged_world: World) -> None:
    staged_world.truncate_and_reload("crm_contacts", "nothing")
    staged_world.rest()


def test_a_truncate_that_is_open_while_the_table_is_extracted_loses_nothing(staged_world: World) -> None:
    staged_world.rewrite_under_extraction("orders", "the same rows", first=5, last=0)
    staged_world.materialize(["orders"], layers=["staging"])
    staged_world.rest()


@pytest.mark.long
def test_a_rewrite_that_is_open_while_the_table_is_extracted_loses_nothing(staged_world: World) -> None:
    staged_world.rewrite_under_extraction("order_items", "alter column", first=5, last=0)
    staged_world.materialize(["order_items"], layers=["staging"])
    staged_world.rest()


def test_staging_that_began_before_a_newer_extraction_ends_with_the_newer_one(staged_world: World) -> None:
    # Held when it has read the manifest: point 1 is the end of its first request to S3.
    staged_world.materialize(["orders"], first=2, last=2, layers=["staging"], interrupted=("hold", 1), held="slow")
    staged_world.put("orders", 3, at="-2 06:00", variant=2)
    staged_world.put("orders", 9, at="-2 12:34:56.789012", variant=2)
    staged_world.materialize(["orders"], first=2, last=2, layers=["lake", "staging"])
    staged_world.release("slow")
    staged_world.rest()


@pytest.mark.long
def test_an_extraction_that_ends_after_one_that_began_later_does_not_count(staged_world: World) -> None:
    staged_world.materialize(["orders"], first=2, last=2, interrupted=("hold", 12), held="slow")
    staged_world.put("orders", 9, at="-2 12:34:56.789012", variant=2)
    staged_world.materialize(["orders"], first=2, last=2)
    staged_world.release("slow")
    staged_world.rest()


def test_a_transaction_that_commits_after_its_day_was_extracted_arrives(staged_world: World) -> None:
    staged_world.begin("late")
    staged_world.put("orders", 9, at="-2 06:00", within="late")
    staged_world.put("order_items", 19, at="-2 06:00", within="late")
    staged_world.materialize()
    staged_world.end("late", commit=True)
    staged_world.rest()


@pytest.mark.long
def test_two_rows_that_take_the_places_of_two_others_are_seen(staged_world: World) -> None:
    staged_world.delete("orders", 2)
    staged_world.put("orders", 12, at="-2 06:00")
    staged_world.rest()


@pytest.mark.long
def test_a_row_that_comes_to_break_a_rule_is_taken_out_and_back_when_it_is_corrected(staged_world: World) -> None:
    staged_world.break_rule("orders", 2, at="-1 06:00")
    staged_world.rest()
    staged_world.mend("orders", 2, at="-2 06:00")
    staged_world.rest()


@pytest.mark.long
def test_a_row_that_is_quarantined_and_corrected_without_its_cursor_is_released(staged_world: World) -> None:
    staged_world.break_rule("orders", 2)
    staged_world.rest()
    staged_world.mend("orders", 2)
    staged_world.rest()


def test_a_lost_object_is_put_back(staged_world: World) -> None:
    staged_world.lose_object("orders", back=3, what="objects")
    staged_world.materialize(["orders"], first=3, last=3, layers=["staging"])
    staged_world.rest()


@pytest.mark.long
def test_objects_that_are_lost_before_they_are_staged_are_put_back(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-3 06:00", variant=3)
    staged_world.materialize(["orders"], first=3, last=3, layers=["lake"])
    staged_world.lose_object("orders", back=3, what="objects")
    staged_world.rest()


@pytest.mark.long
def test_a_lost_object_with_older_versions_is_no_longer_named_when_its_day_is_extracted(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-3 06:00", variant=3)
    staged_world.rest()
    staged_world.move_cursor("orders", 3, to="-1 06:00")
    staged_world.rest()
    staged_world.lose_object("orders", back=3, what="objects")
    staged_world.put("orders", 9, at="-3 06:00", variant=3)
    staged_world.rest()


def test_a_lost_manifest_is_put_back(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-3 06:00", variant=3)
    staged_world.lose_object("orders", back=3, what="manifest")
    staged_world.rest()


def test_a_row_that_is_deleted_while_nothing_in_the_lake_knows_of_it_is_gone(staged_world: World) -> None:
    staged_world.put("orders", 3, at="-3 06:00", variant=3)
    staged_world.rest()
    staged_world.put("orders", 3, at="-1 06:00", variant=4)
    staged_world.rest()
    staged_world.delete("orders", 3)
    for what in ("manifest", "objects"):
        staged_world.lose_object("orders", back=1, what=what)
    staged_world.rest()


# What core and marts make of it. These tests share a world: each has rows of its own.


def test_a_run_that_is_cancelled_between_staging_and_dbt_is_made_good(world: World) -> None:
    world.put("orders", 3, at="-1 06:00", variant=2)
    world.materialize(["orders"], first=1, last=1, interrupted=("cancel", 50))
    world.rest()


def test_one_order_that_breaks_a_rule_leaves_every_run_green(world: World) -> None:
    world.break_rule("orders", 1, at="0 00:00")
    world.rest()
    world.mend("orders", 1, at="0 06:00")
    world.rest()


def test_a_line_that_is_deleted_while_the_objects_of_its_day_are_lost_leaves_the_facts(world: World) -> None:
    world.put("order_items", 5, at="0 06:00", variant=1)
    world.rest()
    world.delete("order_items", 5)
    world.lose_object("order_items", back=0, what="objects")
    world.rest()


def test_tables_that_an_earlier_version_of_their_models_built_are_built_anew(world: World) -> None:
    told_before = len(world.told)
    lacking = {"FACT_ORDER_ITEMS": "has_own_cost", "FACT_REFUNDS": "line_id", "FACT_ORDERS": "eur_per_unit"}
    for table, column in lacking.items():
        world.platform.execute(f"alter table CORE.{table} drop column {column}")
    world.put("orders", 4, at="0 06:00", variant=1)
    world.rest()
    assert not world.told[told_before:], "a run that fails is tried again, until the ledger knows nothing of the tables"


@pytest.mark.long
def test_marts_forget_an_order_that_is_deleted(world: World) -> None:
    world.delete("orders", 2)
    world.materialize()
    world.rest()


@pytest.mark.long
def test_marts_forget_lines_that_are_deleted(world: World) -> None:
    world.delete("order_items", 1)
    world.delete("order_items", 2)
    world.materialize()
    world.rest()


@pytest.mark.long
def test_a_date_whose_last_order_is_deleted_leaves_the_sales_overview(world: World) -> None:
    world.put("orders", 20, at="0 00:00", variant=1)
    world.redate("orders", 20, created="long ago")
    world.rest()
    world.delete("orders", 20)
    world.rest()


@pytest.mark.long
def test_a_date_whose_last_order_is_dated_anew_leaves_the_sales_overview(world: World) -> None:
    world.put("orders", 21, at="-1 00:00", variant=1)
    world.redate("orders", 21, created="long ago")
    world.rest()
    world.redate("orders", 21, created="-3 06:00", at="0 06:00")
    world.rest()


@pytest.mark.long
def test_a_signup_date_whose_last_customer_is_dated_anew_leaves_the_cohorts(world: World) -> None:
    world.put("users", 20, at="-1 00:00", variant=1)
    world.redate("users", 20, created="long ago")
    world.rest()
    world.redate("users", 20, created="-3 06:00", at="0 06:00")
    world.rest()


@pytest.mark.long
def test_a_deleted_customer_leaves_the_cohorts(world: World) -> None:
    world.delete("users", 2)
    world.rest()


@pytest.mark.long
def test_a_line_that_moves_to_another_order_corrects_both(world: World) -> None:
    world.set_column("order_items", 4, "order_id", 6, at="0 00:00")
    world.rest()


@pytest.mark.long
def test_orders_that_move_to_another_customer_correct_both_cohorts(world: World) -> None:
    world.set_column("orders", 4, "user_id", 3, at="0 00:00")
    world.set_column("orders", 5, "user_id", 3, at="0 00:00")
    world.rest()


@pytest.mark.long
def test_a_product_that_changes_its_category_takes_its_history_along(world: World) -> None:
    world.set_column("products", 1, "category", "garden", at="0 00:00")
    world.rest()
