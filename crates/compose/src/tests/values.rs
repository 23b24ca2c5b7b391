//! Every key once, and what becomes of it; the rendering is the proof (G3).

use super::*;

const FULL: &str = r#"
name: shop
services:
  web:
    build:
      context: ./web
      dockerfile: Dockerfile.prod
      target: runtime
      args: {VERSION: "1", FROM_ENV: }
      labels: [org=us]
      network: host
      secrets: [key]
      additional_contexts: {lib: ../lib}
      shm_size: 64m
      no_cache: true
    image: registry.example.com:5000/shop/web:1.2
    pull_policy: if_not_present
    platform: linux/amd64
    command: serve --port "80 80"
    entrypoint: []
    environment: [DEBUG=0, "NAME=a b"]
    labels: {team: shop}
    depends_on:
      db: {condition: service_healthy, restart: true}
      migrate: {condition: service_completed_successfully, required: false}
    healthcheck: {test: curl -f localhost, interval: 1m30s, timeout: 10s, retries: 3, start_period: 40s, start_interval: 5s}
    restart: unless-stopped
    hostname: web
    domainname: example.com
    user: "10001:10001"
    group_add: [mail, 5]
    working_dir: /app
    tty: true
    stdin_open: true
    init: true
    attach: false
    stop_signal: SIGUSR1
    stop_grace_period: 1m
    ports: ["127.0.0.1:8000-8001:80-81", "53/udp", {target: 443, published: "8443", name: tls, app_protocol: https, mode: host}, "[::1]:6001:6001"]
    expose: [9000, "9001-9002/udp"]
    networks:
      front: {aliases: [shop], ipv4_address: 172.20.0.10, gw_priority: 1, mac_address: "02:42:ac:11:00:02"}
      back:
    extra_hosts: ["a=10.0.0.1", "host.docker.internal:host-gateway", "six=[::1]"]
    dns: 9.9.9.9
    dns_search: [example.com]
    dns_opt: [use-vc]
    volumes:
      - data:/data
      - ./conf:/etc/app:ro
      - ~/cache:/cache
      - /app/node_modules
      - {type: bind, source: ., target: /src, bind: {create_host_path: false, propagation: rslave}}
      - {type: tmpfs, target: /tmp, tmpfs: {size: 10m, mode: 01777}}
      - {type: volume, source: data, target: /more, read_only: true, volume: {nocopy: true, subpath: sub}}
    tmpfs: ["/run:size=1m,uid=7"]
    secrets: [key, {source: key, target: /etc/key, uid: "103", gid: "104", mode: 0440}]
    configs: [{source: conf, mode: 0o444}]
    devices: ["/dev/fuse", "/dev/null:/dev/void:r"]
    read_only: true
    shm_size: 128m
    cap_add: [NET_ADMIN]
    cap_drop: [ALL]
    security_opt: ["no-new-privileges:true"]
    sysctls: {net.core.somaxconn: 1024}
    ulimits: {nproc: 65535, nofile: {soft: 20000, hard: 40000}}
    oom_score_adj: -500
    memswap_limit: 2g
    cpu_shares: 512
    cpuset: 0-1
    deploy:
      endpoint_mode: dnsrr
      resources: {limits: {cpus: '0.50', memory: 50M, pids: 100}, reservations: {cpus: '0.25', memory: 20M}}
      update_config: {parallelism: 2, order: start-first}
    logging: {driver: json-file, options: {max-size: 10m, max-file: 3}}
    pid: host
    ipc: shareable
    x-own: {a: [1, two]}
  migrate: {image: web, profiles: [jobs], network_mode: none, restart: "no"}
  db: {image: postgres, healthcheck: {disable: true}, scale: 1, mem_limit: 1g, pids_limit: -1, privileged: true, depends_on: []}
networks:
  front: {driver: bridge, ipam: {config: [{subnet: 172.20.0.0/16, gateway: 172.20.0.1, ip_range: 172.20.5.0/24, aux_addresses: {printer: 172.20.0.9}}]}, labels: {a: b}}
  back: {internal: true, enable_ipv6: true, attachable: true, name: elsewhere}
  outside: {external: true, name: proxy}
volumes:
  data: {driver: local, labels: [x=y]}
  theirs: {external: {name: their-volume}}
secrets:
  key: {file: ./secrets/key.txt}
  token: {environment: TOKEN}
configs:
  conf: {content: "a=${A:-1}\n"}
x-top: 1
"#;

#[test]
fn every_key_rendered() {
    let env = &[("HOME", "/home/me"), ("FROM_ENV", "yes")];
    let profiles = &["jobs"];
    let text = FULL.replace("condition: service_healthy, ", "condition: service_started, ");
    let fixture = Fixture { files: &[("compose.yaml", &text)], env, profiles, ..Fixture::default() };
    let outcome = fixture.load();
    assert_eq!(outcome.said(), "");
    let rendered = crate::render::yaml(&outcome.project.expect("no errors"));
    insta::assert_snapshot!(rendered, @r#"
    name: shop
    services:
      db:
        command: null
        deploy:
          replicas: 1
          resources:
            limits:
              memory: "1073741824"
              pids: -1
        entrypoint: null
        healthcheck:
          disable: true
        image: postgres
        networks:
          default: null
        privileged: true
      migrate:
        command: null
        entrypoint: null
        image: web
        network_mode: none
        profiles:
          - jobs
        restart: "no"
      web:
        attach: false
        build:
          additional_contexts:
            lib: /srv/lib
          args:
            FROM_ENV: "yes"
            VERSION: "1"
          context: /srv/shop/web
          dockerfile: Dockerfile.prod
          labels:
            org: us
          network: host
          no_cache: true
          secrets:
            - source: key
              target: key
          shm_size: "67108864"
          target: runtime
        cap_add:
          - NET_ADMIN
        cap_drop:
          - ALL
        command:
          - serve
          - "--port"
          - "80 80"
        configs:
          - source: conf
            target: /conf
            mode: "0444"
        cpu_shares: 512
        cpuset: "0-1"
        depends_on:
          db:
            condition: service_started
            required: true
            restart: true
          migrate:
            condition: service_completed_successfully
            required: false
        deploy:
          endpoint_mode: dnsrr
          resources:
            limits:
              cpus: "0.5"
              memory: "52428800"
              pids: 100
            reservations:
              cpus: "0.25"
              memory: "20971520"
          update_config:
            order: start-first
            parallelism: 2
        devices:
          - source: /dev/fuse
            target: /dev/fuse
            permissions: rwm
          - source: /dev/null
            target: /dev/void
            permissions: r
        dns:
          - "9.9.9.9"
        dns_opt:
          - use-vc
        dns_search:
          - example.com
        domainname: example.com
        entrypoint: []
        environment:
          DEBUG: "0"
          NAME: a b
        expose:
          - "9000"
          - "9001-9002/udp"
        extra_hosts:
          - "a=10.0.0.1"
          - "host.docker.internal=host-gateway"
          - "six=::1"
        group_add:
          - mail
          - "5"
        healthcheck:
          test:
            - CMD-SHELL
            - curl -f localhost
          interval: "1m30s"
          timeout: "10s"
          start_period: "40s"
          start_interval: "5s"
          retries: 3
        hostname: web
        image: registry.example.com:5000/shop/web:1.2
        init: true
        ipc: shareable
        labels:
          team: shop
        logging:
          driver: json-file
          options:
            max-file: "3"
            max-size: "10m"
        memswap_limit: "2147483648"
        networks:
          back: null
          front:
            aliases:
              - shop
            gw_priority: 1
            ipv4_address: "172.20.0.10"
            mac_address: "02:42:ac:11:00:02"
        oom_score_adj: -500
        pid: host
        platform: linux/amd64
        ports:
          - mode: ingress
            host_ip: "127.0.0.1"
            target: 80
            published: "8000"
            protocol: tcp
          - mode: ingress
            host_ip: "127.0.0.1"
            target: 81
            published: "8001"
            protocol: tcp
          - mode: ingress
            target: 53
            protocol: udp
          - name: tls
            mode: host
            target: 443
            published: "8443"
            protocol: tcp
            app_protocol: https
          - mode: ingress
            host_ip: "::1"
            target: 6001
            published: "6001"
            protocol: tcp
        pull_policy: missing
        read_only: true
        restart: unless-stopped
        secrets:
          - source: key
            target: /run/secrets/key
          - source: key
            target: /etc/key
            uid: "103"
            gid: "104"
            mode: "0440"
        security_opt:
          - no-new-privileges:true
        shm_size: "134217728"
        stdin_open: true
        stop_grace_period: "1m0s"
        stop_signal: SIGUSR1
        sysctls:
          net.core.somaxconn: "1024"
        tmpfs:
          - "/run:size=1048576,uid=7"
        tty: true
        ulimits:
          nofile:
            soft: 20000
            hard: 40000
          nproc: 65535
        user: "10001:10001"
        volumes:
          - type: volume
            source: data
            target: /data
          - type: bind
            source: /srv/shop/conf
            target: /etc/app
            read_only: true
            bind:
              create_host_path: true
          - type: bind
            source: /home/me/cache
            target: /cache
            bind:
              create_host_path: true
          - type: volume
            target: /app/node_modules
          - type: bind
            source: /srv/shop
            target: /src
            bind:
              create_host_path: false
              propagation: rslave
          - type: tmpfs
            target: /tmp
            tmpfs:
              size: "10485760"
              mode: "1777"
          - type: volume
            source: data
            target: /more
            read_only: true
            volume:
              nocopy: true
              subpath: sub
        working_dir: /app
        x-own:
          a:
            - 1
            - two
    networks:
      back:
        name: elsewhere
        attachable: true
        internal: true
        enable_ipv6: true
      default:
        name: shop_default
      front:
        name: shop_front
        driver: bridge
        ipam:
          config:
            - subnet: "172.20.0.0/16"
              ip_range: "172.20.5.0/24"
              gateway: "172.20.0.1"
              aux_addresses:
                printer: "172.20.0.9"
        labels:
          a: b
      outside:
        name: proxy
        external: true
    volumes:
      data:
        name: shop_data
        driver: local
        labels:
          x: "y"
      theirs:
        name: their-volume
        external: true
    secrets:
      key:
        name: shop_key
        file: /srv/shop/secrets/key.txt
      token:
        name: shop_token
        environment: TOKEN
    configs:
      conf:
        name: shop_conf
        content: "a=1\n"
    x-top: 1
    "#);

    // The canonical form is a Compose file that means the same.
    let again = Fixture { files: &[("compose.yaml", &rendered)], env, profiles, ..Fixture::default() };
    assert_eq!(crate::render::yaml(&again.project()), rendered);
}

/// H2: a check that is switched off can never be healthy.
#[test]
fn waiting_for_a_disabled_check_is_an_error() {
    let env = &[("FROM_ENV", "yes")];
    let said =
        Fixture { files: &[("compose.yaml", FULL)], env, profiles: &["jobs"], ..Fixture::default() }.load().said();
    insta::assert_snapshot!(said, @"error compose/no-healthcheck compose.yaml:24:7: `web` waits for `db` to be healthy, which it can never be (add a `healthcheck:` to `db`, or wait for `service_started`)");
}

#[test]
fn a_limit_of_nothing_is_none() {
    let text = "services: {a: {image: a, cpus: 0, mem_limit: 0, deploy: {resources: {limits: {pids: 0, cpus: '0'}}}}}";
    assert_eq!(project(text).services["a"].limits, crate::project::Limits::default());
}

#[test]
fn file_modes() {
    let mode = |written: &str| {
        let text = format!(
            "services: {{a: {{image: a, secrets: [{{source: s, mode: {written}}}]}}}}\nsecrets: {{s: {{file: s}}}}\n"
        );
        project(&text).services["a"].secrets[0].mode
    };
    for written in ["0440", "0o440", "'0440'", "'440'", "288"] {
        assert_eq!(mode(written), Some(0o440), "{written}");
    }
}

#[test]
fn ports_of_both_syntaxes() {
    let ports = |written: &str| {
        let project = project(&format!("services: {{a: {{image: a, ports: [{written}]}}}}\n"));
        let text = |port: &crate::project::Port| {
            let host = port.host_ip.map_or(String::new(), |address| format!("{address} "));
            let published = port.published.map_or("any".to_owned(), |(low, high)| format!("{low}-{high}"));
            format!("{host}{published}→{}/{}", port.target, port.protocol)
        };
        project.services["a"].ports.iter().map(text).collect::<Vec<_>>().join(", ")
    };
    for (written, expected) in [
        ("3000", "any→3000/tcp"),
        ("'3000-3001'", "any→3000/tcp, any→3001/tcp"),
        ("3000, '3000-3001'", "any→3000/tcp, any→3001/tcp"),
        ("8000:8000", "8000-8000→8000/tcp"),
        ("'9090-9091:8080-8081'", "9090-9090→8080/tcp, 9091-9091→8081/tcp"),
        ("'8000-9000:80'", "8000-9000→80/tcp"),
        ("'127.0.0.1:8001:8001'", "127.0.0.1 8001-8001→8001/tcp"),
        ("'0:80'", "any→80/tcp"),
        ("{target: 80, published: '0'}", "any→80/tcp"),
        ("'127.0.0.1::80'", "127.0.0.1 any→80/tcp"),
        ("'::1:6000:6000'", "::1 6000-6000→6000/tcp"),
        ("'[::1]:6001:6001'", "::1 6001-6001→6001/tcp"),
        ("'6060:6060/udp'", "6060-6060→6060/udp"),
        ("{target: 80, published: 8080, host_ip: 127.0.0.1}", "127.0.0.1 8080-8080→80/tcp"),
    ] {
        assert_eq!(ports(written), expected, "{written}");
    }
}

/// What a service asks of the kernel beside the common limits, and how it is shown.
#[test]
fn tuning_is_read_and_rendered() {
    let text = "name: p\nservices:\n  web:\n    image: x\n    annotations: [note=here]\n    cgroup_parent: /a\n    cpu_period: 50000\n    \
                cpu_quota: -1\n    cpu_rt_period: 400ms\n    cpu_rt_runtime: '95000'\n    device_cgroup_rules: ['c 1:3 rwm']\n    \
                mem_swappiness: 10\n    oom_kill_disable: true\n    runtime: crun\n    blkio_config:\n      weight: 300\n      \
                device_read_bps: [{path: /dev/sda, rate: 12mb}]\n      device_write_iops: [{path: /dev/sda, rate: 30}]\n      \
                weight_device: [{path: /dev/sdb, weight: 400}]\n";
    let project = project(text);
    let tuning = &project.services["web"].tuning;
    assert_eq!((tuning.cpu_period_us, tuning.cpu_quota_us), (Some(50_000), Some(-1)));
    assert_eq!((tuning.cpu_rt_period_us, tuning.cpu_rt_runtime_us), (Some(400_000), Some(95_000)));
    assert_eq!(tuning.runtime.as_ref().map(|runtime| runtime.value.as_str()), Some("crun"));
    assert_eq!((tuning.memory_swappiness, tuning.oom_kill_disable), (Some(10), true));
    assert_eq!((tuning.block.weight, tuning.block.read_bps[0].value), (Some(300), 12 << 20));
    assert_eq!((tuning.block.write_iops[0].value, tuning.block.device_weights[0].device.as_str()), (30, "/dev/sdb"));
    let again = self::project(&crate::render::yaml(&project));
    assert_eq!(crate::render::json(&again), crate::render::json(&project));
}
