//! The rules of the specification's "Merge and override", with its own examples (G1).

use super::*;

const BASE: &str = r#"
services:
  foo:
    image: app:1
    command: ["echo", "foo"]
    entrypoint: /base
    dns: [1.1.1.1]
    volumes: ["foo:/work", "kept:/kept"]
    ports: ["8080:80", {target: 443, published: "8443"}]
    environment: {FOO: BAR, KEPT: "1"}
    labels: [a=1, b=2]
    secrets: [one]
    healthcheck: {test: [CMD, base], interval: 5s}
    depends_on: [db]
    networks: [front]
    logging: {driver: json-file, options: {max-size: 1m}}
    build: .
    cap_add: [A]
    ulimits: {nofile: {soft: 1, hard: 2}}
    deploy: {resources: {limits: {memory: 1g, cpus: '1'}}}
    extra_hosts: ["h:10.0.0.1"]
    tmpfs: /a
  db: {image: db}
volumes: {foo: {}, bar: {}, kept: {}}
networks: {front: {labels: {x: "1"}}, back: {}}
secrets: {one: {file: one}, two: {file: two}}
"#;

const OVER: &str = r#"
services:
  foo:
    command: ["echo", "bar"]
    entrypoint: [over]
    dns: 8.8.8.8
    volumes: ["bar:/work"]
    ports: ["8080:80", "9090:90"]
    environment: [FOO=baz, NEW=1]
    labels: {b: "3", c: "4"}
    secrets: [{source: two, target: one}]
    healthcheck: {test: over, retries: 7}
    depends_on: {db: {condition: service_healthy}}
    networks: {front: {aliases: [x]}, back: {}}
    logging: {options: {max-file: "2"}}
    build: {target: dev}
    cap_add: [A, B]
    ulimits: {nofile: 9}
    deploy: {resources: {limits: {memory: 2g}}}
    extra_hosts: {h: 10.0.0.1, i: 10.0.0.2}
    tmpfs: [/b]
networks: {front: {labels: [y=2]}}
"#;

#[test]
fn every_rule() {
    insta::assert_snapshot!(merged(&[("compose.yaml", BASE), ("over.yaml", OVER)]), @r#"
    name: shop
    services:
      db:
        command: null
        entrypoint: null
        image: db
        networks:
          default: null
      foo:
        build:
          context: /srv/shop
          target: dev
        cap_add:
          - A
          - B
        command:
          - echo
          - bar
        depends_on:
          db:
            condition: service_healthy
            required: true
        deploy:
          resources:
            limits:
              cpus: "1"
              memory: "2147483648"
        dns:
          - "1.1.1.1"
          - "8.8.8.8"
        entrypoint:
          - over
        environment:
          FOO: baz
          KEPT: "1"
          NEW: "1"
        extra_hosts:
          - "h=10.0.0.1"
          - "i=10.0.0.2"
        healthcheck:
          test:
            - CMD-SHELL
            - over
          interval: "5s"
          retries: 7
        image: app:1
        labels:
          a: "1"
          b: "3"
          c: "4"
        logging:
          driver: json-file
          options:
            max-file: "2"
            max-size: "1m"
        networks:
          back: null
          front:
            aliases:
              - x
        ports:
          - mode: ingress
            target: 80
            published: "8080"
            protocol: tcp
          - mode: ingress
            target: 443
            published: "8443"
            protocol: tcp
          - mode: ingress
            target: 90
            published: "9090"
            protocol: tcp
        secrets:
          - source: two
            target: /run/secrets/one
        ulimits:
          nofile: 9
        volumes:
          - type: volume
            source: bar
            target: /work
          - type: volume
            source: kept
            target: /kept
          - type: tmpfs
            target: /a
          - type: tmpfs
            target: /b
    networks:
      back:
        name: shop_back
      default:
        name: shop_default
      front:
        name: shop_front
        labels:
          x: "1"
          "y": "2"
    volumes:
      bar:
        name: shop_bar
      foo:
        name: shop_foo
      kept:
        name: shop_kept
    secrets:
      one:
        name: shop_one
        file: /srv/shop/one
      two:
        name: shop_two
        file: /srv/shop/two
    "#);
}

#[test]
fn reset_and_override() {
    let base = "services:\n  app:\n    image: myapp\n    ports: ['8080:80']\n    environment: {FOO: BAR, KEPT: x}\n    volumes: ['/a', '/b']\n";
    let reset =
        "services:\n  app:\n    ports: !reset []\n    environment: {FOO: !reset null}\n    volumes: !override ['/c']\n";
    insta::assert_snapshot!(merged(&[("compose.yaml", base), ("over.yaml", reset)]), @"
    name: shop
    services:
      app:
        command: null
        entrypoint: null
        environment:
          KEPT: x
        image: myapp
        networks:
          default: null
        volumes:
          - type: volume
            target: /c
    networks:
      default:
        name: shop_default
    ");
    // In the first file there is nothing to take away, and the tagged value is gone.
    let alone =
        merged(&[("compose.yaml", "services: {app: {image: a, ports: !reset ['80:80'], tty: !override true}}")]);
    assert!(!alone.contains("ports") && alone.contains("tty: true"));
}

#[test]
fn kinds_that_do_not_merge() {
    let files = &[
        ("compose.yaml", "services:\n  app:\n    image: a\n    volumes: ['/a']\n"),
        ("over.yaml", "services:\n  app:\n    volumes: {a: b}\n"),
    ];
    insta::assert_snapshot!(Fixture { files, ..Fixture::default() }.load().said(), @"error compose/merge-mismatch over.yaml:3:14: `services.app.volumes` is a mapping here and a list in the base (write both in one form, or replace the base's value with `!override`)");
}

/// Null over a mapping or list leaves it, as in the tool people have.
#[test]
fn null_overrides_nothing_but_single_values() {
    let base = "services: {app: {image: a, user: me, environment: {A: '1'}, ports: ['80']}}";
    let over = "services: {app: {user: , environment: , ports: }}";
    let app = Fixture { files: &[("compose.yaml", base), ("over.yaml", over)], ..Fixture::default() }.project();
    let app = &app.services["app"];
    assert!(app.user.is_none());
    assert_eq!((app.environment.len(), app.ports.len()), (1, 1));
}

/// Interpolation comes before merging, file by file, and spans lead to the file that said it.
#[test]
fn values_keep_the_place_they_come_from() {
    let files = &[
        ("compose.yaml", "services:\n  app:\n    image: a:${T:-1}\n"),
        ("over.yaml", "services: {app: {user: me}}\n"),
    ];
    let outcome = Fixture { files, ..Fixture::default() }.load();
    let project = outcome.project.expect("no errors");
    let app = &project.services["app"];
    let at = |span| {
        let position = outcome.sources.position(span);
        format!("{}:{}:{}", position.path, position.line, position.column)
    };
    assert_eq!(app.image.as_ref().map(|image| at(image.span)).as_deref(), Some("compose.yaml:3:12"));
    assert_eq!(app.user.as_ref().map(|user| at(user.span)).as_deref(), Some("over.yaml:1:24"));
}

/// One place in the container, written with and without a slash at its end, is mounted once: the later file's.
#[test]
fn a_slash_at_the_end_of_a_target_is_no_other_target() {
    let base = "services: {web: {image: x, volumes: [./a:/x, data:/y/, /z]}}\nvolumes: {data: }\n";
    let over = "services: {web: {volumes: [./b:/x/, {type: bind, source: ./c, target: /y}]}}\n";
    let project = Fixture { files: &[("compose.yaml", base), ("over.yaml", over)], ..Fixture::default() }.project();
    let mounts = &project.services["web"].volumes;
    let targets: Vec<&str> = mounts.iter().map(|mount| mount.target.value.as_str()).collect();
    assert_eq!(targets, ["/x/", "/y", "/z"]);
}
