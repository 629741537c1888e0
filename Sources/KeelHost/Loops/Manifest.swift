import KeelBridge
import KeelCore
import KeelModel

/// `keel_run.json`: what fixed every bit of a run.
enum Manifest {
    static let file = "keel_run.json"

    static func json(_ setup: RunSetup) throws -> JSON {
        let isReplayable = !setup.plugins.all.contains {
            $0.component.flags.contains(.nondeterministic)
        }
        return [
            "keel": .string(Build.version), "config": setup.config.json,
            "seed": JSON(setup.config.train.seed),
            "total_steps": JSON(setup.totalSteps), "plugins": list(setup.plugins),
            "data": data(setup),
            "model": [
                "path": .string(setup.config.model.path),
                "sha256": .string(try setup.modelHash()),
                "tokenizer_sha256": .string(setup.tokenizer.contentHash),
            ],
            "kernels": .string("\(setup.device.isa)"), "replayable": .bool(isReplayable),
        ]
    }

    static func data(_ setup: RunSetup) -> JSON {
        let counts = Dictionary(setup.dataCounts, uniquingKeysWith: { $1 })
        return .object(
            JSONObject(
                pairs: setup.dataHashes.map { name, hash in
                    var entry: JSONObject = ["sha256": .string(hash)]
                    for (key, value) in counts[name]?.object ?? JSONObject() { entry[key] = value }
                    return (name, .object(entry))
                }))
    }

    /// Says what differs from the run that wrote the checkpoint, where going on is possible all the same.
    static func compare(_ checkpoint: Checkpoint, _ setup: RunSetup) {
        for (name, entry) in checkpoint.state["data"]?.object ?? JSONObject() {
            let now = setup.dataHashes.first { $0.0 == name }?.1
            guard entry["sha256"]?.string != now else { continue }
            Log.warning(
                "data.\(name) is not the file this run was made with; the run goes on with other rows"
            )
        }
        for (section, before) in checkpoint.state["config"]?.object ?? JSONObject() {
            guard section != "output_dir", setup.config.json[section] != before else { continue }
            Log.warning("the config's \"\(section)\" is not what this run was made with")
        }
    }

    static func list(_ plugins: RunPlugins) -> JSON {
        .array(
            plugins.all.map { instance, component in
                [
                    "instance": .string(instance), "kind": .string(component.kind.rawValue),
                    "name": .string(component.name), "id": .string(component.pluginID),
                    "version": .string(component.pluginVersion), "path": .string(component.path),
                    "sha256": .string(component.sha256),
                ]
            })
    }

    /// Refuses to go on with a plugin that is not the one the checkpoint was made with.
    ///
    /// - Throws: `KeelError` (unavailable) that names the plugin.
    static func checkPlugins(
        _ checkpoint: Checkpoint, _ plugins: RunPlugins, allowChange: Bool
    ) throws {
        let before = checkpoint.state["plugins"]?.array ?? []
        for (instance, component) in plugins.all {
            guard let old = before.first(where: { $0["instance"]?.string == instance }) else {
                continue
            }
            guard old["sha256"]?.string != component.sha256 else { continue }
            let what =
                "\(component.title) is not the one this run was made with (\(old["name"]?.string ?? "?") \(old["version"]?.string ?? "?"))"
            guard allowChange else {
                throw KeelError(
                    "resume", what, at: component.path,
                    fix: "use the old file, or accept the change with --allow-plugin-change",
                    code: .unavailable)
            }
            Log.warning(what)
        }
    }
}
