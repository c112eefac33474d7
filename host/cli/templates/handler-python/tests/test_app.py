import unittest

from app import Handler
from componentize_py_types import Err
from wit_world.exports.handler import Delivery, Failure_Reject, Failure_Retry, Publication


def call(payload: bytes, attempt: int = 1):
    return Handler().handle(Delivery("new-handler.in.1", [], payload, 1, attempt, 0, True))


class Shout(unittest.TestCase):
    def failed_with(self, payload: bytes):
        with self.assertRaises(Err) as raised:
            call(payload)
        return raised.exception.value

    def test_the_text_comes_back_in_capitals_and_is_published(self):
        response = call(b"hello tide")
        self.assertEqual(response.reply, b"HELLO TIDE")
        self.assertEqual(response.publications, [Publication("new-handler.out", [], b"HELLO TIDE")])

    def test_what_is_no_text_is_rejected(self):
        for payload in (b"\xff", b""):
            self.assertIsInstance(self.failed_with(payload), Failure_Reject)

    def test_what_asks_for_a_retry_succeeds_the_second_time(self):
        self.assertEqual(self.failed_with(b"later"), Failure_Retry(500))
        self.assertEqual(call(b"later", attempt=2).reply, b"LATER")


if __name__ == "__main__":
    unittest.main()
