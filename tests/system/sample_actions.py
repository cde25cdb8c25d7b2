"""Actions that say what was really executed: each call first appends a line to the file that TRACE names.

Loaded by the tests' installations through RUNYARD_ACTIONS.
"""

from __future__ import annotations

import asyncio
import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Never

from pydantic import BaseModel

from actions import ActionError, Context, Retry, action


class Number(BaseModel):
    number: int


class Square(BaseModel):
    number: int
    square: int


class Seconds(BaseModel):
    number: int
    seconds: float = 0.0


def note(context: Context) -> None:
    """Append who executes what. One write to a file opened for appending is whole, whoever else writes or dies."""
    line = f"{context.run_uid} {context.input_index} {context.attempt} {os.getpid()} {time.time()}\n"
    file = os.open(os.environ["TRACE"], os.O_WRONLY | os.O_APPEND)
    os.write(file, line.encode())
    os.close(file)


def squared(number: int) -> Square:
    return Square(number=number, square=number**2)


@action("square")
def square(input: Number, *, context: Context) -> Square:
    """Square a number."""
    note(context)
    return squared(input.number)


@action("square-slowly")
def square_slowly(input: Seconds, *, context: Context) -> Square:
    """Square a number, taking the time that the input says."""
    note(context)
    time.sleep(input.seconds)
    return squared(input.number)


@action("square-when-told")
def square_when_told(input: Number, *, context: Context) -> Square:
    """Square a number, once the test has written the run's uid into the file beside the trace."""
    note(context)
    told = Path(os.environ["TRACE"]).with_name("told")
    while not (told.exists() and str(context.run_uid) in told.read_text()):
        time.sleep(0.05)
    return squared(input.number)


@action("square-slowly-once")
def square_slowly_once(input: Seconds, *, context: Context) -> Square:
    """Square a number, taking the time that the input says unless it has been begun before."""
    begun_before = f"{context.run_uid} {context.input_index} " in Path(os.environ["TRACE"]).read_text()
    note(context)
    time.sleep(0 if begun_before else input.seconds)
    return squared(input.number)


@action("square-in-threads", concurrency=4, timeout_s=1)
def square_in_threads(input: Seconds, *, context: Context) -> Square:
    """Square numbers side by side; a long sleep hears no interruption."""
    note(context)
    time.sleep(input.seconds)
    return squared(input.number)


@action("square-on-a-loop", concurrency=50, timeout_s=1)
async def square_on_a_loop(input: Seconds, *, context: Context) -> Square:
    """Square numbers side by side on an event loop."""
    note(context)
    await asyncio.sleep(input.seconds)
    return squared(input.number)


@action("square-at-second-try", max_attempts=2)
def square_at_second_try(input: Seconds, *, context: Context) -> Square:
    """Square a number, at the first try asking to be called again after the time that the input says."""
    note(context)
    if context.attempt == 1:
        raise Retry(after_s=input.seconds, reason="not yet")
    return squared(input.number)


@action("square-at-third-try", max_attempts=3)
def square_at_third_try(input: Seconds, *, context: Context) -> Square:
    """Square a number, at the first two tries asking to be called again after the time that the input says."""
    note(context)
    if context.attempt < 3:
        raise Retry(after_s=input.seconds, reason="not yet")
    return squared(input.number)


class Call(BaseModel):
    number: int
    began_at: float
    ended_at: float


def timed(input: Seconds, context: Context) -> Call:
    note(context)
    began_at = time.time()
    time.sleep(input.seconds)
    return Call(number=input.number, began_at=began_at, ended_at=time.time())


@action("time-one-at-once", max_concurrency=1)
def time_one_at_once(input: Seconds, *, context: Context) -> Call:
    """Take the time that the input says, in one batch at once, and say when that was."""
    return timed(input, context)


@action("time-in-threads", concurrency=50)
def time_in_threads(input: Seconds, *, context: Context) -> Call:
    """Do the same in threads."""
    return timed(input, context)


@action("time-on-a-loop", concurrency=50)
async def time_on_a_loop(input: Seconds, *, context: Context) -> Call:
    """Do the same on an event loop."""
    note(context)
    began_at = time.time()
    await asyncio.sleep(input.seconds)
    return Call(number=input.number, began_at=began_at, ended_at=time.time())


@action("time-at-a-rate", rate="20/s")
def time_at_a_rate(input: Seconds, *, context: Context) -> Call:
    """Do the same, no more than 20 times in any second."""
    return timed(input, context)


@action("time-a-few-an-hour", rate="6/h")
def time_a_few_an_hour(input: Seconds, *, context: Context) -> Call:
    """Do the same, no more than 6 times in any hour."""
    return timed(input, context)


@action("refuse-odd")
def refuse_odd(input: Number, *, context: Context) -> Square:
    """Square even numbers."""
    note(context)
    if input.number % 2:
        raise ActionError("ODD", f"{input.number} is odd", {"number": input.number})
    return squared(input.number)


@action("count-to")
def count_to(input: Number, *, context: Context) -> Iterator[Number]:
    """Yield the numbers from 1 to the input's."""
    note(context)
    for number in range(1, input.number + 1):
        yield Number(number=number)


# --- What no worker should be asked to do


def spin() -> Never:
    while True:
        pass


def hear_nothing() -> Never:
    while True:
        try:
            spin()
        except BaseException:
            continue


def hold_the_interpreter() -> None:
    """Wait for ever in C, with the interpreter's lock held: no other thread and no signal handler runs."""
    mutex = ctypes.create_string_buffer(64)
    libc = ctypes.PyDLL(None)
    libc.pthread_mutex_lock(mutex)
    libc.pthread_mutex_lock(mutex)


def leave_a_thread_behind() -> None:
    threading.Thread(target=spin, daemon=True).start()
    time.sleep(1000)


TROUBLES: dict[str, Callable[[], None]] = {
    "exit": lambda: os._exit(1),
    "be killed": lambda: os.kill(os.getpid(), signal.SIGKILL),
    "crash": lambda: os.kill(os.getpid(), signal.SIGSEGV),
    "stand still": lambda: os.kill(os.getpid(), signal.SIGSTOP),
    "spin": spin,
    "hear nothing": hear_nothing,
    "hold the interpreter": hold_the_interpreter,
    "leave a thread behind": leave_a_thread_behind,
}


@action("die")
def die(input: Number, *, context: Context) -> None:
    """End the process."""
    note(context)
    os._exit(1)


class Trouble(BaseModel):
    how: str


@action("make-trouble", timeout_s=1)
def make_trouble(input: Trouble, *, context: Context) -> None:
    """Do what the input says."""
    note(context)
    TROUBLES[input.how]()


@action("make-trouble-on-a-loop", timeout_s=1)
async def make_trouble_on_a_loop(input: Trouble, *, context: Context) -> None:
    """Hold the event loop, or go on when told to end."""
    note(context)
    while True:
        try:
            await asyncio.sleep(1000 if input.how == "hear nothing" else spin())
        except asyncio.CancelledError:
            continue


class Poison(BaseModel):
    number: int
    how: str | None = None


def squared_unless_poisonous(input: Poison, context: Context) -> Square:
    note(context)
    if input.how:
        TROUBLES[input.how]()
    return squared(input.number)


@action("square-poison", timeout_s=1)
def square_poison(input: Poison, *, context: Context) -> Square:
    """Square a number, or do to the process what the input says."""
    return squared_unless_poisonous(input, context)


@action("square-poison-in-threads", timeout_s=1, concurrency=4)
def square_poison_in_threads(input: Poison, *, context: Context) -> Square:
    """Do the same in threads."""
    return squared_unless_poisonous(input, context)


@action("square-poison-on-a-loop", timeout_s=1, concurrency=4)
async def square_poison_on_a_loop(input: Poison, *, context: Context) -> Square:
    """Do the same on an event loop."""
    await asyncio.sleep(0)
    return squared_unless_poisonous(input, context)
