"""Numbers that processes share."""

import os

from service.shared_flags import SharedFlags


def in_a_child(function):
    pid = os.fork()
    if pid == 0:
        try:
            function()
        finally:
            os._exit(0)
    os.waitpid(pid, 0)


def test_children_and_parent_see_each_other():
    flags = SharedFlags()
    assert not flags.draining()
    in_a_child(flags.start_draining)
    assert flags.draining()
    in_a_child(lambda: flags.add_active(1, 2))
    in_a_child(lambda: flags.add_active(2, 1))
    flags.add_active(1, -1)
    assert flags.num_active() == 2


def test_what_a_dead_worker_counted_can_be_taken_back():
    flags = SharedFlags()
    flags.add_active(1, 3)
    flags.add_active(300, 2)
    flags.forget_worker(1)
    assert flags.num_active() == 2
    flags.forget_all_workers()
    assert flags.num_active() == 0
    assert not flags.draining()


def test_generations_of_models():
    flags = SharedFlags()
    assert flags.oldest_in_use() is None
    for worker, generation in ((1, 3), (2, 1), (3, 2)):
        in_a_child(lambda w=worker, g=generation: flags.set_in_use(w, g))
        flags.set_prepared(worker, generation)
    assert flags.oldest_in_use() == 1
    assert flags.num_prepared(2) == 2
    flags.forget_worker(2)
    assert flags.oldest_in_use() == 2
    flags.announce_models(4)
    flags.switch_models(3)
    assert (flags.announced_models(), flags.current_models()) == (4, 3)
    flags.forget_all_workers()
    assert (flags.oldest_in_use(), flags.num_prepared(1)) == (None, 0)
    assert flags.current_models() == 3
