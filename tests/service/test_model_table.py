"""Orders and tables that processes leave for each other."""

from service.model_table import (
    ModelTable,
    TableEntry,
    answer_order,
    place_order,
    read_order,
    read_table,
    take_answer,
    write_table,
)


def test_one_order_at_a_time(tmp_path):
    assert read_order(tmp_path) is None
    order = place_order(tmp_path, "travel", tmp_path / "travel" / "2")
    assert read_order(tmp_path) == order
    assert place_order(tmp_path, "travel", tmp_path / "travel" / "3") is None
    assert read_order(tmp_path) == order
    assert take_answer(tmp_path, order) is None
    answer_order(tmp_path, order, "broken")
    assert take_answer(tmp_path, order) == ("broken",)
    following = place_order(tmp_path, "travel", tmp_path / "travel" / "3")
    assert following is not None
    assert following.id != order.id
    answer_order(tmp_path, following, None)
    assert take_answer(tmp_path, following) == (None,)
    assert not list(tmp_path.iterdir())


def test_tables(tmp_path):
    assert read_table(tmp_path) is None
    for generation in (2, 3):
        table = ModelTable(generation, [TableEntry("/b/1", ["ipc:///e"])], ["/b/2"])
        write_table(tmp_path, table)
        assert read_table(tmp_path) == table
