"""Runs ministack as SQS authorizes: a batch needs the right to the single action, and there are no batch rights.

ministack asks for ``sqs:SendMessageBatch``, which IAM does not know. The service: "Specifying SendMessage,
DeleteMessage, or ChangeMessageVisibility … also grants permissions for the corresponding batch versions" (API reference
of AddPermission; Service Authorization Reference). Run by the Python that ministack is installed for.
"""

from __future__ import annotations

from typing import Any

from ministack.app import main
from ministack.core import iam_actions

__all__: list[str] = []

_asked = iam_actions.extract_iam_action


def _action(service: str, *request: Any) -> str | None:
    action: str | None = _asked(service, *request)
    return action.removesuffix("Batch") if action and action.startswith("sqs:") else action


if __name__ == "__main__":
    iam_actions.extract_iam_action = _action
    main()
