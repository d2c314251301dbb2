// @modelcontextprotocol/client: node client_v2.mjs URL MODE
import { Client, StreamableHTTPClientTransport } from '@modelcontextprotocol/client';
import { repeat } from './scenario.mjs';

const [url, mode] = process.argv.slice(2);
const negotiation = ['legacy', 'auto'].includes(mode) ? mode : { pin: mode };

await repeat(async () => {
  const client = new Client({ name: 'test', version: '1' }, { versionNegotiation: { mode: negotiation } });
  await client.connect(new StreamableHTTPClientTransport(new URL(url)));
  const call = (name, args, options) => client.callTool({ name, arguments: args }, options);
  return { client, call };
});
