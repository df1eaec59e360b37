// Runs the npm package `oidc-provider`, a certified OpenID provider, for the tests of logins.
//
// node provider.mjs DIRECTORY-WITH-NODE-MODULES OPTIONS.json
//
// OPTIONS: { "certificate", "key": PEM files, "people": { name: claims }, "deviceSeconds": number }
// Prints one line `provider URL` when it listens. The provider's own pages for development are the ones
// that people log in on: any password is right. Beside the provider there is one path of ours,
// POST /rotate: from then on it signs with a new key and publishes only that one.

import { generateKeyPairSync } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createServer } from 'node:https';
import { join, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';

const [directory, optionsFile] = process.argv.slice(2);
const entry = join(resolve(directory), 'node_modules', 'oidc-provider', 'lib', 'index.js');
const { default: Provider } = await import(pathToFileURL(entry).href);
const options = JSON.parse(readFileSync(optionsFile, 'utf8'));

function signingKey(kid) {
  const { privateKey } = generateKeyPairSync('rsa', { modulusLength: 2048 });
  return { ...privateKey.export({ format: 'jwk' }), kid, use: 'sig', alg: 'RS256' };
}

async function findAccount(ctx, id) {
  const claims = options.people[id];
  return claims && { accountId: id, claims: async () => ({ sub: id, ...claims }) };
}

function provider(issuer, key) {
  const made = new Provider(issuer, {
    clients: [
      {
        client_id: 'overlay',
        client_secret: 'secret of/the:client',
        application_type: 'native',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'],
      },
      {
        client_id: 'posting',
        client_secret: 'secret of/the:client',
        token_endpoint_auth_method: 'client_secret_post',
        application_type: 'native',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'],
      },
      {
        client_id: 'public',
        token_endpoint_auth_method: 'none',
        application_type: 'native',
        grant_types: ['authorization_code', 'urn:ietf:params:oauth:grant-type:device_code'],
        response_types: ['code'],
        redirect_uris: ['http://127.0.0.1/callback'],
      },
    ],
    jwks: { keys: [key] },
    cookies: { keys: ['of the tests'] },
    claims: {
      openid: ['sub', 'groups'],
      profile: ['preferred_username', 'name'],
      email: ['email', 'email_verified'],
    },
    // Claims of scopes are in the ID token, except what is asked for as a scope of userinfo.
    conformIdTokenClaims: options.userinfoOnly === true,
    features: { devInteractions: { enabled: true }, deviceFlow: { enabled: true } },
    pkce: { required: () => true, methods: ['S256'] },
    ttl: { DeviceCode: options.deviceSeconds ?? 600, Interaction: 600, Session: 600, Grant: 600 },
    findAccount,
  });
  return made;
}

let handle;
let keys = 0;
const server = createServer(
  { cert: readFileSync(options.certificate), key: readFileSync(options.key) },
  (request, response) => {
    if (request.method === 'POST' && request.url === '/rotate') {
      rotate();
      response.end();
      return;
    }
    handle(request, response);
  },
);

function rotate() {
  keys += 1;
  handle = provider(`https://localhost:${server.address().port}`, signingKey(`key-${keys}`)).callback();
}

server.listen(0, '127.0.0.1', () => {
  rotate();
  console.log(`provider https://localhost:${server.address().port}`);
});
