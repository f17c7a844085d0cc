"""crewai-tools, in a crew: it sends null for every argument that a model leaves out."""

import os

os.environ |= {
    "CREWAI_DISABLE_TELEMETRY": "true",
    "OTEL_SDK_DISABLED": "true",
    "CREWAI_TRACING_ENABLED": "false",
}

import setting
from crewai import LLM, Agent, Crew, Task
from crewai_tools import MCPServerAdapter


def adapter(url: str) -> MCPServerAdapter:
    return MCPServerAdapter(
        {"url": url, "transport": "streamable-http", "headers": setting.HEADERS}, connect_timeout=60
    )


with adapter(setting.ALL) as everything:
    converted = len(everything)
    for tool in everything:
        tool.args_schema.model_json_schema()
with adapter(setting.CORE) as tools:
    agent = Agent(
        role="roofer",
        goal="Mend the roof",
        backstory="You mend roofs.",
        llm=LLM(model=f"openai/{setting.MODEL}", base_url=setting.MODEL_URL, api_key="none"),
        tools=list(tools),
        max_iter=20,
    )
    task = Task(description=setting.TASK, expected_output="A word.", agent=agent)
    result = Crew(agents=[agent], tasks=[task]).kickoff()
setting.done("crewai-tools", converted=converted, said=result.raw)
