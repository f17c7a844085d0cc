"""A stock Java client calls Baton. It offers to go on in HTTP/2 with every first request, as all JDKs do on a plain address."""

import asyncio
import json
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.conftest import Server, World

SECONDS_MAX = 120  # a JVM compiles and starts slowly on a busy machine

pytestmark = pytest.mark.skipif(
    not (shutil.which("java") and shutil.which("javac")),
    reason="There is no JDK, so no Java client calls. Debian and Ubuntu: apt-get install default-jdk-headless",
)

LOOP = r"""
import java.net.URI;
import java.net.http.*;
import java.net.http.HttpRequest.BodyPublishers;
import java.net.http.HttpResponse.BodyHandlers;

public class Loop {
    static final HttpClient client = HttpClient.newHttpClient();
    static String url, key;

    static void call(String path, String body, boolean chunked) throws Exception {
        HttpRequest request = HttpRequest.newBuilder(URI.create(url + path))
            .header("Authorization", "Bearer " + key)
            .header("Content-Type", "application/json")
            .header("Accept", "application/json, text/event-stream")
            .POST(chunked
                ? BodyPublishers.ofInputStream(() -> new java.io.ByteArrayInputStream(body.getBytes()))
                : BodyPublishers.ofString(body))
            .build();
        HttpResponse<String> answer = client.send(request, BodyHandlers.ofString());
        System.out.println(answer.statusCode() + " " + answer.version() + " " + answer.body());
    }

    public static void main(String[] arguments) throws Exception {
        url = arguments[0];
        key = arguments[1];
        for (boolean chunked : new boolean[] {false, true, false}) {
            call("/v1/agent/create-task", "{\"title\": \"from Java\"}", chunked);
            call("/v1/agent/list-tasks", "{\"status\": \"done\", \"limit\": 1}", chunked);
            call("/v1/agent/claim-next-task", "{\"leaseSeconds\": 3600, \"claimKey\": \"k\", \"waitSeconds\": 0}", chunked);
            call("/mcp", "{\"jsonrpc\": \"2.0\", \"id\": 1, \"method\": \"ping\"}", chunked);
        }
        HttpRequest health = HttpRequest.newBuilder(URI.create(url + "/healthz")).build();
        System.out.println(client.send(health, BodyHandlers.ofString()).body());
    }
}
"""


async def test_a_stock_java_client_does_the_daily_loop(
    server: Server, workspace: World, tmp_path: Path
) -> None:
    bot = await workspace.agent()
    source = tmp_path / "Loop.java"
    source.write_text(LOOP)
    await asyncio.to_thread(
        subprocess.run, ["javac", "-d", tmp_path, source], check=True, timeout=SECONDS_MAX
    )
    done = await asyncio.to_thread(
        subprocess.run,
        ["java", "-cp", tmp_path, "Loop", server.url, bot.api_key],
        capture_output=True,
        text=True,
        check=True,
        timeout=SECONDS_MAX,
    )
    *said, health = done.stdout.splitlines()
    assert health == '{"ok":true}'
    assert [line.split(" ", 2)[:2] for line in said] == [["200", "HTTP_1_1"]] * 12
    bodies = iter([json.loads(line.split(" ", 2)[2]) for line in said])
    claims: list[str] = []
    for created, listed, claimed, pong in zip(*(bodies,) * 4, strict=True):
        assert created["data"]["title"] == "from Java"
        assert listed["data"] == [], "nothing is done"
        [claim] = claimed["data"]
        assert claim["run"]["leaseSeconds"] == 3600
        claims.append(claim["run"]["id"])
        assert pong["result"] == {}
    assert len(set(claims)) == 1, "its claim key was heard each time"
