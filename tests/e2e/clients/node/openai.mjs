// OpenAI's own client for Node: plain, streamed, typed, running tools, and its typed errors.
import assert from "node:assert/strict";
import OpenAI from "openai";
import { zodResponseFormat } from "openai/helpers/zod";
import { z } from "zod";

const [baseURL, model] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "none", maxRetries: 0 });
const user = (content) => [{ role: "user", content }];
const france = user("What is the capital of France?");
const paris = "The capital of France is Paris.";
const Person = z.object({ name: z.string(), age: z.number() });

const models = [];
for await (const one of client.models.list()) models.push(one.id);
assert(models.includes(model));

const answer = await client.chat.completions.create({ model, messages: france });
assert.equal(answer.choices[0].message.content, paris);

let text = "";
for await (const chunk of await client.chat.completions.create({ model, messages: france, stream: true }))
  text += chunk.choices[0]?.delta?.content ?? "";
assert.equal(text, paris);

const stream = client.chat.completions.stream({ model, messages: france });
assert.equal(await stream.finalContent(), paris);

const parsed = await client.chat.completions.parse({
  model,
  messages: user("Extract the person."),
  response_format: zodResponseFormat(Person, "person"),
});
assert.deepEqual(parsed.choices[0].message.parsed, { name: "Ada", age: 36 });

for (const streaming of [false, true]) {
  const runner = client.chat.completions.runTools({
    model,
    stream: streaming,
    messages: user("How is the weather in Paris?"),
    tools: [
      {
        type: "function",
        function: {
          name: "get_weather",
          description: "Tell the weather.",
          parameters: { type: "object", properties: { city: { type: "string" } } },
          parse: JSON.parse,
          function: ({ city }) => `21 degrees in ${city}`,
        },
      },
    ],
  });
  assert.equal(await runner.finalContent(), "It is 21 degrees in Paris.");
}

await assert.rejects(
  client.chat.completions.create({ model: "none", messages: france }),
  (error) => error instanceof OpenAI.NotFoundError && error.code === "model_not_found",
);
