"""update-task with Django REST framework on gunicorn's threads, as its documentation shows it, in one file."""

import hashlib
import os
import uuid

import django
from django.conf import settings
from django.core.wsgi import get_wsgi_application

settings.configure(
    SECRET_KEY="not a secret",  # noqa: S106 - nothing is signed
    ALLOWED_HOSTS=["*"],
    ROOT_URLCONF=__name__,
    USE_TZ=True,
    INSTALLED_APPS=["rest_framework"],
    MIDDLEWARE=["django.middleware.common.CommonMiddleware"],
    REST_FRAMEWORK={
        "DEFAULT_AUTHENTICATION_CLASSES": [],
        "DEFAULT_RENDERER_CLASSES": ["rest_framework.renderers.JSONRenderer"],
        "DEFAULT_PARSER_CLASSES": ["rest_framework.parsers.JSONParser"],
        "UNAUTHENTICATED_USER": None,
    },
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.postgresql",
            "HOST": os.environ["PGHOST"],
            "PORT": os.environ["PGPORT"],
            "USER": os.environ["PGUSER"],
            "NAME": os.environ["PGDATABASE"],
            "CONN_MAX_AGE": 600,
        }
    },
)
django.setup()

from django.db import models, transaction  # noqa: E402 - models need the settings
from django.db.models.functions import Now  # noqa: E402
from django.urls import path  # noqa: E402
from django.utils import timezone  # noqa: E402
from rest_framework import serializers, status  # noqa: E402
from rest_framework.authentication import BaseAuthentication  # noqa: E402
from rest_framework.exceptions import APIException, AuthenticationFailed, NotFound  # noqa: E402
from rest_framework.request import Request  # noqa: E402
from rest_framework.response import Response  # noqa: E402
from rest_framework.views import APIView  # noqa: E402

STATUSES = ["triage", "backlog", "todo", "in_progress", "blocked", "in_review", "done", "cancelled"]
PRIORITIES = ["none", "low", "medium", "high", "urgent"]


class Identity(models.Model):
    id = models.UUIDField(primary_key=True)
    workspace_id = models.UUIDField()
    kind = models.TextField()
    is_authenticated = True

    class Meta:
        app_label, db_table, managed = "tasks", "identities", False


class ApiKey(models.Model):
    id = models.UUIDField(primary_key=True)
    workspace_id = models.UUIDField()
    identity = models.ForeignKey(Identity, models.CASCADE)
    hash = models.BinaryField()
    revoked_at = models.DateTimeField(null=True)

    class Meta:
        app_label, db_table, managed = "tasks", "api_keys", False


class Task(models.Model):
    pk = models.CompositePrimaryKey("workspace_id", "id")
    workspace_id = models.UUIDField()
    id = models.UUIDField()
    number = models.IntegerField()
    version = models.IntegerField()
    title = models.TextField()
    description = models.TextField(null=True)
    status = models.TextField()
    priority = models.SmallIntegerField()
    due_at = models.DateTimeField(null=True)
    assignee_id = models.UUIDField(null=True)
    assignee_kind = models.TextField(null=True)
    created_by_id = models.UUIDField()
    created_by_kind = models.TextField()
    parent_task_id = models.UUIDField(null=True)
    channel_id = models.UUIDField(null=True)
    started_at = models.DateTimeField(null=True)
    completed_at = models.DateTimeField(null=True)
    cancelled_at = models.DateTimeField(null=True)
    created_at = models.DateTimeField()
    updated_at = models.DateTimeField()

    class Meta:
        app_label, db_table, managed = "tasks", "tasks", False


class TaskEvent(models.Model):
    pk = models.CompositePrimaryKey("workspace_id", "task_id", "version", "subject_id")
    workspace_id = models.UUIDField()
    task_id = models.UUIDField()
    version = models.IntegerField()
    subject_id = models.UUIDField(default=uuid.UUID(int=0))
    kind = models.TextField()
    actor_id = models.UUIDField()
    actor_kind = models.TextField()
    request_id = models.TextField()
    changes = models.JSONField()
    created_at = models.DateTimeField(db_default=Now())

    class Meta:
        app_label, db_table, managed = "tasks", "task_events", False


class KeyAuthentication(BaseAuthentication):
    def authenticate(self, request: Request) -> tuple[Identity, ApiKey]:
        key = request.headers.get("Authorization", "").removeprefix("Bearer ")
        found = (
            ApiKey.objects.select_related("identity")
            .filter(hash=hashlib.sha256(key.encode()).digest(), revoked_at=None)
            .first()
        )
        if found is None:
            raise AuthenticationFailed
        return found.identity, found


class Conflict(APIException):
    status_code = status.HTTP_409_CONFLICT
    default_detail = "The task has changed."


class TaskUpdate(serializers.Serializer):
    taskId = serializers.UUIDField()
    version = serializers.IntegerField(min_value=1)
    title = serializers.CharField(required=False, max_length=500)
    description = serializers.CharField(required=False, allow_null=True)
    status = serializers.ChoiceField(STATUSES, required=False)
    priority = serializers.ChoiceField(PRIORITIES, required=False)


class TaskSerializer(serializers.ModelSerializer):
    identifier = serializers.SerializerMethodField()
    workspaceId = serializers.UUIDField(source="workspace_id")
    priority = serializers.SerializerMethodField()
    dueAt = serializers.DateTimeField(source="due_at")
    assigneeUserId = serializers.SerializerMethodField()
    assigneeAgentId = serializers.SerializerMethodField()
    createdByUserId = serializers.SerializerMethodField()
    createdByAgentId = serializers.SerializerMethodField()
    parentTaskId = serializers.UUIDField(source="parent_task_id")
    channelId = serializers.UUIDField(source="channel_id")
    originMessageId = serializers.ReadOnlyField(default=None)
    originExtractionId = serializers.ReadOnlyField(default=None)
    startedAt = serializers.DateTimeField(source="started_at")
    completedAt = serializers.DateTimeField(source="completed_at")
    cancelledAt = serializers.DateTimeField(source="cancelled_at")
    archivedAt = serializers.ReadOnlyField(default=None)
    createdAt = serializers.DateTimeField(source="created_at")
    updatedAt = serializers.DateTimeField(source="updated_at")
    deletedAt = serializers.ReadOnlyField(default=None)

    class Meta:
        model = Task
        fields = [
            "id", "identifier", "workspaceId", "title", "description", "status", "priority", "version", "dueAt",
            "assigneeUserId", "assigneeAgentId", "createdByUserId", "createdByAgentId", "parentTaskId", "channelId",
            "originMessageId", "originExtractionId", "startedAt", "completedAt", "cancelledAt", "archivedAt",
            "createdAt", "updatedAt", "deletedAt",
        ]  # fmt: skip

    def get_identifier(self, task: Task) -> str:
        return f"T-{task.number}"

    def get_priority(self, task: Task) -> str:
        return PRIORITIES[task.priority]

    def get_assigneeUserId(self, task: Task) -> uuid.UUID | None:
        return task.assignee_id if task.assignee_kind == "user" else None

    def get_assigneeAgentId(self, task: Task) -> uuid.UUID | None:
        return task.assignee_id if task.assignee_kind == "agent" else None

    def get_createdByUserId(self, task: Task) -> uuid.UUID | None:
        return task.created_by_id if task.created_by_kind == "user" else None

    def get_createdByAgentId(self, task: Task) -> uuid.UUID | None:
        return task.created_by_id if task.created_by_kind == "agent" else None


class UpdateTask(APIView):
    authentication_classes = [KeyAuthentication]

    def post(self, request: Request) -> Response:
        sent = TaskUpdate(data=request.data)
        sent.is_valid(raise_exception=True)
        changes = dict(sent.validated_data)
        task_id, version = changes.pop("taskId"), changes.pop("version")
        actor, now, request_id = request.user, timezone.now(), uuid.uuid4().hex
        with transaction.atomic():
            task = Task.objects.select_for_update().filter(workspace_id=actor.workspace_id, id=task_id).first()
            if task is None or actor.id not in (task.created_by_id, task.assignee_id):
                raise NotFound
            if task.version != version:
                raise Conflict
            for name, value in changes.items():
                setattr(task, name, PRIORITIES.index(value) if name == "priority" else value)
            if task.status == "in_progress" and task.started_at is None:
                task.started_at = now
            elif task.status == "done":
                task.completed_at = now
            elif task.status == "cancelled":
                task.cancelled_at = now
            task.version += 1
            task.updated_at = now
            task.save(update_fields=[*changes, "version", "started_at", "completed_at", "cancelled_at", "updated_at"])
            TaskEvent.objects.create(
                workspace_id=task.workspace_id,
                task_id=task.id,
                version=task.version,
                kind="updated",
                actor_id=actor.id,
                actor_kind=actor.kind,
                request_id=request_id,
                changes=changes,
            )
        meta = {"requestId": request_id, "timestamp": now}
        return Response({"success": True, "data": TaskSerializer(task).data, "meta": meta})


urlpatterns = [path("v1/agent/update-task", UpdateTask.as_view())]
application = get_wsgi_application()
