// The Vercel AI SDK: text, streams, objects and tools through its OpenAI-compatible provider.
import assert from "node:assert/strict";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateText, Output, stepCountIs, streamText, tool } from "ai";
import { z } from "zod";

const [baseURL, id] = process.argv.slice(2);
const provider = createOpenAICompatible({
  name: "gateway",
  baseURL,
  apiKey: "none",
  includeUsage: true,
  supportsStructuredOutputs: true,
});
const model = provider(id);
const prompt = "What is the capital of France?";
const paris = "The capital of France is Paris.";

const answer = await generateText({ model, prompt });
assert.equal(answer.text, paris);
assert.equal(answer.finishReason, "stop");
assert(answer.usage.outputTokens > 0);

const stream = streamText({ model, prompt });
let text = "";
for await (const delta of stream.textStream) text += delta;
assert.equal(text, paris);
assert((await stream.usage).outputTokens > 0);

const Person = z.object({ name: z.string(), age: z.number() });
const object = await generateText({
  model,
  prompt: "Extract the person.",
  output: Output.object({ schema: Person }),
});
assert.deepEqual(object.output, { name: "Ada", age: 36 });

const tools = {
  get_weather: tool({
    description: "Tell the weather.",
    inputSchema: z.object({ city: z.string() }),
    execute: async ({ city }) => `21 degrees in ${city}`,
  }),
};
const asked = { model, tools, prompt: "How is the weather in Paris?", stopWhen: stepCountIs(3) };
assert.equal((await generateText(asked)).text, "It is 21 degrees in Paris.");
assert.equal(await streamText(asked).text, "It is 21 degrees in Paris.");

const report = {
  ...asked,
  prompt: "Report on Oslo.",
  tools: { get_weather: { ...tools.get_weather, execute: async () => "5 degrees in Oslo" } },
  output: Output.object({ schema: z.object({ city: z.string(), degrees: z.number() }) }),
};
const reported = await generateText(report);
assert.deepEqual(reported.output, { city: "Oslo", degrees: 5 });
assert.equal(reported.steps.length, 2);
assert.deepEqual(await streamText(report).output, { city: "Oslo", degrees: 5 });
