import Glibc
import KeelCore

extension ModelConfig {
    /// The rotary settings: `rope_parameters` (transformers 5), or `rope_theta`, `rope_scaling` and
    /// `partial_rotary_factor` (4); GPT-NeoX writes `rotary_emb_base` and `rotary_pct`.
    ///
    /// - Parameters:
    ///   - headSize: components of a head; a `partial_rotary_factor` turns fewer.
    ///   - layerType: of a family whose layers differ: its entry of `rope_parameters`.
    ///   - theta: the base where the file names none.
    ///   - partial: the part of a head that turns where the file names none.
    /// - Throws: `KeelError` (badData) for values that cannot be, and for kinds of scaling that are not supported, by name.
    package func rope(
        headSize: Int, layerType: String? = nil, theta fallback: Double = 10_000,
        partial: Double = 1
    ) throws -> Rope {
        var settings = self["rope_parameters"]?.object ?? JSONObject()
        if let layerType, let own = settings[layerType]?.object { settings = own }
        if let scaling = self["rope_scaling"]?.object {
            for (key, value) in scaling where settings[key] == nil { settings.append(key, value) }
        }
        let reader = RopeSettings(settings: settings, config: self)
        let theta = try reader.number(
            "rope_theta",
            else: number("rope_theta", default: number("rotary_emb_base", default: fallback)))
        guard theta > 0 else { throw bad("rope_theta", "\(theta) is not a positive number") }
        let part = try reader.number(
            "partial_rotary_factor",
            else: number("partial_rotary_factor", default: number("rotary_pct", default: partial)))
        let dimensions = part > 0 && part <= 1 ? Int(Double(headSize) * part) : 0
        guard dimensions % 2 == 0, dimensions > 0 else {
            throw bad(
                "partial_rotary_factor",
                "\(part) of a head of \(headSize) is no even number of components")
        }
        let rope = Rope(theta: theta, dimensions: dimensions)
        guard let scaling = try reader.scaling(pairs: dimensions / 2) else { return rope }
        return rope.scaled(scaling)
    }
}

extension ModelConfig {
    /// What a layer's tokens see, of families whose layers differ.
    package enum LayerType: String, Sendable {
        case full = "full_attention"
        case sliding = "sliding_attention"
    }

    /// `layer_types` (transformers 5); nil when the file has none.
    ///
    /// - Throws: `KeelError` (badData) for another number of layers and for kinds that are not supported, by name.
    package func layerTypes(count: Int) throws -> [LayerType]? {
        guard let value = self["layer_types"] else { return nil }
        guard let names = value.array, names.count == count else {
            throw bad("layer_types", "not a list of \(count) layers")
        }
        return try names.map { name in
            guard let type = name.string.flatMap(LayerType.init) else {
                throw unsupported(
                    "layer_types", "layers of type \(name.text())",
                    known: "full_attention and sliding_attention are")
            }
            return type
        }
    }
}

/// The entries of one `rope_parameters` or `rope_scaling`.
private struct RopeSettings {
    let settings: JSONObject
    let config: ModelConfig

    /// - Throws: `KeelError` (badData) that names the key.
    func number(_ key: String, else fallback: @autoclosure () throws -> Double) throws -> Double {
        guard let value = settings[key], !value.isNull else { return try fallback() }
        guard let number = value.double, number.isFinite else {
            throw config.bad("rope_parameters.\(key)", "\(value.text()) is not a number")
        }
        return number
    }

    /// - Throws: `KeelError` (badData) for a number that is missing or not positive.
    private func positive(
        _ key: String, else fallback: @autoclosure () throws -> Double? = nil
    ) throws -> Double {
        let value = try number(
            key, else: fallback() ?? { throw config.missing("rope_parameters.\(key)") }())
        guard value > 0 else {
            throw config.bad("rope_parameters.\(key)", "\(value) is not positive")
        }
        return value
    }

    /// The kind, by its newest name: Phi-3 was first written with "su" and "yarn" for LongRoPE.
    private func kind() -> String {
        let kind = (settings["rope_type"] ?? settings["type"])?.string ?? "default"
        let isPhi = config["model_type"] == "phi3"
        return kind == "su" || kind == "yarn" && isPhi ? "longrope" : kind
    }

    /// Nil where nothing is stretched.
    ///
    /// - Parameter pairs: of components that turn.
    func scaling(pairs: Int) throws -> Rope.Scaling? {
        let kind = kind()
        switch kind {
        case "default": return nil
        case "dynamic":
            _ = try positive("factor")
            return .dynamic(context: try config.int("max_position_embeddings", default: 2048))
        case "longrope":
            let context = try context()
            let factor = try positive(
                "factor", else: config.number("max_position_embeddings") / context)
            let usual = factor <= 1 ? 1 : (1 + log(factor) / log(context)).squareRoot()
            return .longrope(
                short: try divisors("short_factor", pairs),
                long: try divisors("long_factor", pairs), context: Int(context),
                attention: try positive("attention_factor", else: usual))
        case "linear": return .linear(factor: try positive("factor"))
        case "llama3":
            let low = try positive("low_freq_factor")
            let high = try positive("high_freq_factor")
            guard low < high else {
                throw config.bad(
                    "rope_parameters.high_freq_factor",
                    "\(high) is not above low_freq_factor \(low)")
            }
            return .llama3(
                factor: try positive("factor"), low: low, high: high, context: try context())
        case "yarn":
            let factor = try positive("factor")
            return .yarn(
                factor: factor, fast: try positive("beta_fast", else: 32),
                slow: try positive("beta_slow", else: 1), context: try context(),
                attention: try attention(factor), isTruncated: settings["truncate"]?.bool ?? true)
        default:
            throw config.unsupported(
                "rope_type", "rotary scaling \"\(kind)\"",
                known: "default, linear, llama3, yarn, dynamic and longrope are")
        }
    }

    /// LongRoPE's divisors.
    private func divisors(_ key: String, _ pairs: Int) throws -> [Float] {
        guard let value = settings[key], !value.isNull else {
            throw config.missing("rope_parameters.\(key)")
        }
        let numbers = value.array?.compactMap(\.double) ?? []
        guard numbers.count == pairs, value.array?.count == pairs,
            numbers.allSatisfy({ $0 > 0 && $0.isFinite })
        else {
            throw config.bad(
                "rope_parameters.\(key)",
                "not a list of \(pairs) positive numbers, one for each pair")
        }
        return numbers.map(Float.init)
    }

    /// Tokens the model was first trained on.
    private func context() throws -> Double {
        let tokens = try positive(
            "original_max_position_embeddings",
            else: config.number(
                "original_max_position_embeddings",
                default: config.number("max_position_embeddings")))
        guard (1...0x1p24).contains(tokens) else {
            throw config.bad(
                "rope_parameters.original_max_position_embeddings",
                "\(tokens) is not from 1 to \(1 << 24)")
        }
        return tokens
    }

    /// YaRN's factor on cosine and sine: 0.1 ln(factor) + 1 unless given (equation 22).
    private func attention(_ factor: Double) throws -> Double {
        func scale(_ weight: Double) -> Double { factor <= 1 ? 1 : 0.1 * weight * log(factor) + 1 }
        let (top, bottom) = (
            try number("mscale", else: 0), try number("mscale_all_dim", else: 0)
        )
        let usual = top != 0 && bottom != 0 ? scale(top) / scale(bottom) : scale(1)
        return try positive("attention_factor", else: usual)
    }
}
