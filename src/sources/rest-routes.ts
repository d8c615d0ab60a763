/**
 * The routes of the REST API that change something and are no actions: the API method that does the same, or a name in the
 * same style where there is none. `null`: nothing is told. Their parameters are as in Express: `:id`.
 *
 * Source: @xen-orchestra/rest-api/src (`*.controller.mts`).
 */

const TAGGED = [
  'hosts',
  'networks',
  'pools',
  'srs',
  'vdi-snapshots',
  'vdis',
  'vm-controllers',
  'vm-snapshots',
  'vm-templates',
  'vms',
]

export const ROUTES: ReadonlyMap<string, string | null> = new Map<string, string | null>([
  ...TAGGED.flatMap((objects): [string, string][] => [
    [`PUT /${objects}/:id/tags/:tag`, 'tag.add'],
    [`DELETE /${objects}/:id/tags/:tag`, 'tag.remove'],
  ]),

  ['PATCH /vms/:id', 'vm.set'],
  ['DELETE /vms/:id', 'vm.delete'],
  ['DELETE /vm-snapshots/:id', 'vm.delete'],
  ['DELETE /vm-templates/:id', 'vm.delete'],
  ['PUT /vms/:id/stats/data_source/:data_source', 'vm.addDataSource'],
  ['DELETE /vms/:id/stats/data_source/:data_source', 'vm.removeDataSource'],
  ['POST /pools/:id/vms', 'vm.import'],

  ['POST /vdis', 'disk.create'],
  ['PATCH /vdis/:id', 'vdi.set'],
  ['PUT /vdis/:id.:format', 'disk.importContent'],
  ['DELETE /vdis/:id', 'vdi.delete'],
  ['DELETE /vdi-snapshots/:id', 'vdi.delete'],
  ['POST /vbds', 'vm.attachDisk'],
  ['DELETE /vbds/:id', 'vbd.delete'],
  ['POST /vifs', 'vm.createInterface'],
  ['PATCH /vifs/:id', 'vif.set'],
  ['DELETE /vifs/:id', 'vif.delete'],
  ['DELETE /networks/:id', 'network.delete'],
  ['POST /srs', 'sr.create'],
  ['POST /srs/:id/vdis', 'disk.import'],
  ['DELETE /srs/:id', 'sr.destroy'],

  ['POST /servers', 'server.add'],
  ['DELETE /servers/:id', 'server.remove'],
  ['POST /backup-repositories', 'remote.create'],
  ['PATCH /backup-repositories/:id', 'remote.set'],
  ['DELETE /tasks', 'task.delete'],
  ['DELETE /tasks/:id', 'task.delete'],

  ['POST /users', 'user.create'],
  ['PATCH /users/:id', 'user.set'],
  ['DELETE /users/:id', 'user.delete'],
  ['POST /users/authentication_tokens', 'token.create'],
  ['POST /users/:id/authentication_tokens', 'token.create'],
  ['POST /groups', 'group.create'],
  ['PATCH /groups/:id', 'group.set'],
  ['DELETE /groups/:id', 'group.delete'],
  ['PUT /groups/:id/users/:userId', 'group.addUser'],
  ['DELETE /groups/:id/users/:userId', 'group.removeUser'],
  ['POST /acl-roles', 'role.create'],
  ['PATCH /acl-roles/:id', 'role.set'],
  ['DELETE /acl-roles/:id', 'role.delete'],
  ['PUT /acl-roles/:id/groups/:groupId', 'role.addGroup'],
  ['DELETE /acl-roles/:id/groups/:groupId', 'role.removeGroup'],
  ['PUT /acl-roles/:id/users/:userId', 'role.addUser'],
  ['DELETE /acl-roles/:id/users/:userId', 'role.removeUser'],
  ['POST /acl-privileges', 'privilege.create'],
  ['PATCH /acl-privileges/:id', 'privilege.set'],
  ['DELETE /acl-privileges/:id', 'privilege.delete'],

  // a page of XO 6 says what it wants to be told of
  ['POST /events/:id/subscriptions', null],
  ['DELETE /events/:id/subscriptions/:subscriptionId', null],
])
