import pytest

from gateway.prompt.answer_form import tell_form
from gateway.prompt.conversation import Conversation, Message, Role

ASKED = Message(Role.USER, "Report.")


@pytest.mark.parametrize("role", [Role.SYSTEM, Role.DEVELOPER])
def test_the_form_ends_the_system_message(role: Role) -> None:
    told = tell_form(Conversation((Message(role, "Be brief."), ASKED)), '{"type":"object"}')

    first, second = told.messages
    assert first.role is role
    assert first.content.startswith("Be brief.\n\nIf you do not call a function")
    assert first.content.endswith('\n{"type":"object"}')
    assert second == ASKED


def test_without_a_system_message_the_form_is_one() -> None:
    told = tell_form(Conversation((ASKED,)), "{}")

    assert [message.role for message in told.messages] == [Role.SYSTEM, Role.USER]
    assert told.messages[0].content.endswith("this JSON schema:\n{}")
