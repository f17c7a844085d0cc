"""All that an operator can do to workspaces and who is in them. The command line calls these.

Each function answers with a struct that says what was made or found. Names that do not exist or are taken raise the
same errors that operations raise.
"""

from app.operator.channels import GENERAL, Channel, create_channel, find_channels
from app.operator.identities import Identity, create_identity
from app.operator.keys import (
    Key,
    NewKey,
    VerifyToken,
    create_key,
    create_verify_token,
    limit_key,
    list_keys,
    revoke_key,
)
from app.operator.members import Member, Membership, Readmission, join_channel, list_members, readmit
from app.operator.people import Deactivation, Person, deactivate, list_people, reactivate, rename
from app.operator.removal import Contents, Deleted, contents, delete_workspace
from app.operator.scopes import ALL_SCOPES, OPERATOR
from app.operator.workspaces import (
    History,
    Retention,
    Tenancy,
    Workspace,
    create_workspace,
    find_workspace,
    list_workspaces,
    set_history,
    set_retention,
)

__all__ = [
    "ALL_SCOPES",
    "GENERAL",
    "OPERATOR",
    "Channel",
    "Contents",
    "Deactivation",
    "Deleted",
    "History",
    "Identity",
    "Key",
    "Member",
    "Membership",
    "NewKey",
    "Person",
    "Readmission",
    "Retention",
    "Tenancy",
    "VerifyToken",
    "Workspace",
    "contents",
    "create_channel",
    "create_identity",
    "create_key",
    "create_verify_token",
    "create_workspace",
    "deactivate",
    "delete_workspace",
    "find_channels",
    "find_workspace",
    "join_channel",
    "limit_key",
    "list_keys",
    "list_members",
    "list_people",
    "list_workspaces",
    "reactivate",
    "readmit",
    "rename",
    "revoke_key",
    "set_history",
    "set_retention",
]
