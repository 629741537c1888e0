import KeelCore

/// What PEFT's `LoraConfig` says: which layers get an update of low rank, and how large.
///
/// Hu et al. 2021, "LoRA", arXiv:2106.09685, equation 3; `use_rslora`: Kalajdzievski 2023, arXiv:2312.03732.
package struct LoRAConfig: Sendable, Equatable {
    /// Which linear layers are changed.
    package enum Targets: Sendable, Equatable {
        /// All of the blocks; not the head, as in PEFT.
        case allLinear
        /// Ends of module names: `q_proj`, `self_attn.q_proj`, `lm_head`, or whole names.
        case names([String])
    }

    /// Rows of A.
    package var rank = 8
    /// The update is multiplied by alpha / rank, or alpha / sqrt(rank) with rank-stabilised scaling.
    package var alpha = 8.0
    /// Probability that a cell of the layer's input does not reach A while training.
    package var dropout = 0.0
    package var targets = Targets.allLinear
    /// Other ranks for modules whose name ends so.
    package var rankPattern: [(name: String, rank: Int)] = []
    /// Other alphas for modules whose name ends so.
    package var alphaPattern: [(name: String, alpha: Double)] = []
    package var usesRankStabilisation = false
    /// Modules trained whole: `lm_head`, `embed_tokens`.
    package var modulesToSave: [String] = []
    /// Whether embedding and head of a tied model stay one tensor where one of them is trained whole.
    package var tiesWeights = false

    package init() {}

    package static func == (a: LoRAConfig, b: LoRAConfig) -> Bool { a.json == b.json }

    /// The rank and the factor of a module's update.
    func size(of module: String) -> (rank: Int, scale: Double) {
        let rank = rankPattern.first { LoRAConfig.names(module, $0.name) }?.rank ?? self.rank
        let alpha = alphaPattern.first { LoRAConfig.names(module, $0.name) }?.alpha ?? self.alpha
        return (rank, alpha / (usesRankStabilisation ? Double(rank).squareRoot() : Double(rank)))
    }

    /// Whether a module has this name, or ends in it at a dot.
    package static func names(_ module: String, _ name: String) -> Bool {
        module == name || module.hasSuffix("." + name)
    }

    /// Whether a linear layer of a block is changed.
    func changes(_ module: String) -> Bool {
        if case .allLinear = targets { return true }
        return chooses(module)
    }

    /// Whether a module is changed because the config names it.
    func chooses(_ module: String) -> Bool {
        guard case .names(let names) = targets else { return false }
        return names.contains { LoRAConfig.names(module, $0) }
    }

    /// The layers of a model that get an update, from the embedding to the head.
    func layers(of architecture: Architecture) -> [Linear] {
        architecture.ends.embedding.filter { chooses($0.module) }
            + architecture.linears.filter { changes($0.module) }
            + architecture.ends.head.filter { chooses($0.module) }
    }

    /// The tensors of a model that are trained whole, each with the places that it stands in.
    ///
    /// Embedding and head of a tied model are two places: as in PEFT, one that is trained leaves the other as it was,
    /// unless `ensure_weight_tying` keeps them one.
    func whole(of architecture: Architecture) -> [[Weight]] {
        var found = architecture.places.filter { place in
            modulesToSave.contains { LoRAConfig.names(place.module, $0) }
        }.map { [$0] }
        let ends = [architecture.embedding, architecture.headWeight]
        guard tiesWeights, architecture.hasTiedHead,
            let first = found.firstIndex(where: { ends.contains($0[0]) })
        else { return found }
        found.removeAll { ends.contains($0[0]) }
        found.insert(ends, at: first)
        return found
    }

    // MARK: - adapter_config.json

    /// - Parameter path: what errors name.
    /// - Throws: `KeelError` (badData) for wrong values, and by name for what is not supported.
    package init(_ json: JSON, path: String) throws {
        func bad(_ key: String, _ what: String, _ fix: String? = nil) -> KeelError {
            KeelError("model", what, at: "\(path), key \(key)", fix: fix, code: .badData)
        }
        guard let object = json.object else {
            throw KeelError(
                "model", "the adapter's config holds \(json.kind), not an object", at: path,
                code: .badData)
        }
        if let type = json["peft_type"], type.string != "LORA" {
            throw bad("peft_type", "adapters of type \(type.text()): not supported; LORA is")
        }
        for key in [
            "use_dora", "use_qalora", "use_bdlora", "lora_bias", "layer_replication",
            "layers_to_transform", "layers_pattern", "exclude_modules", "alora_invocation_tokens",
            "target_parameters", "trainable_token_indices",
        ] {
            guard let value = object[key], !value.isNull, value.bool != false,
                value.array?.isEmpty != true
            else { continue }
            throw bad(key, "\(key) \(value.text()): not supported")
        }
        if let bias = json["bias"]?.string, bias != "none" {
            throw bad("bias", "bias \"\(bias)\": not supported", "train with \"bias\": \"none\"")
        }
        func integer(_ key: String, _ value: JSON?, _ usual: Int) throws -> Int {
            guard let value, !value.isNull else { return usual }
            guard let number = value.int, (1...65_536).contains(number) else {
                throw bad(key, "\(value.text()) is not a rank from 1 to 65536")
            }
            return number
        }
        func number(_ key: String, _ value: JSON?, _ usual: Double) throws -> Double {
            guard let value, !value.isNull else { return usual }
            guard let number = value.double, number.isFinite else {
                throw bad(key, "\(value.text()) is not a number")
            }
            return number
        }
        func flag(_ key: String) throws -> Bool {
            guard let value = json[key], !value.isNull else { return false }
            guard let flag = value.bool else {
                throw bad(key, "\(value.text()) is not true or false")
            }
            return flag
        }
        func names(_ key: String) throws -> [String]? {
            guard let value = json[key], !value.isNull else { return nil }
            guard let list = value.array, list.allSatisfy({ $0.string?.isEmpty == false }) else {
                throw bad(key, "\(value.text()) is not a list of module names")
            }
            return list.compactMap(\.string)
        }
        rank = try integer("r", json["r"], 8)
        alpha = try number("lora_alpha", json["lora_alpha"], 8)
        dropout = try number("lora_dropout", json["lora_dropout"], 0)
        guard dropout >= 0, dropout < 1 else {
            throw bad("lora_dropout", "\(dropout) is not in 0 ..< 1")
        }
        usesRankStabilisation = try flag("use_rslora")
        for (name, value) in json["rank_pattern"]?.object ?? JSONObject() {
            rankPattern.append((name, try integer("rank_pattern.\(name)", value, 8)))
        }
        for (name, value) in json["alpha_pattern"]?.object ?? JSONObject() {
            alphaPattern.append((name, try number("alpha_pattern.\(name)", value, 8)))
        }
        modulesToSave = try names("modules_to_save") ?? []
        tiesWeights = try flag("ensure_weight_tying")
        if let text = json["target_modules"]?.string {
            guard text == "all-linear" else {
                throw bad(
                    "target_modules", "a pattern, \"\(text)\": not supported",
                    "list the modules' names, or write \"all-linear\"")
            }
        } else if let list = try names("target_modules") {
            targets = .names(list)
        }
    }

    /// The keys that PEFT and Keel's own config share.
    package var json: JSON {
        var object: JSONObject = [
            "r": JSON(rank), "lora_alpha": .double(alpha), "lora_dropout": .double(dropout),
        ]
        switch targets {
        case .allLinear: object["target_modules"] = "all-linear"
        case .names(let names): object["target_modules"] = .array(names.map { .string($0) })
        }
        object["rank_pattern"] = .object(
            JSONObject(pairs: rankPattern.map { ($0.name, JSON($0.rank)) }))
        object["alpha_pattern"] = .object(
            JSONObject(pairs: alphaPattern.map { ($0.name, .double($0.alpha)) }))
        object["use_rslora"] = .bool(usesRankStabilisation)
        object["modules_to_save"] =
            modulesToSave.isEmpty ? .null : .array(modulesToSave.map { .string($0) })
        object["ensure_weight_tying"] = .bool(tiesWeights)
        return .object(object)
    }
}
