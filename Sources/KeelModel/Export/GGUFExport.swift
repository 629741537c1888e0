import Glibc
import KeelCore
import KeelTensor

/// A model folder as llama.cpp's architectures see it: names, hyperparameters, and the order of cells.
///
/// What a GGUF architecture fixes in code (which layers have a window, how scores are scaled) is compared with the
/// model; a model that differs is refused, because llama.cpp would compute something else.
package struct GGUFExport {
    private let directory: ModelDirectory
    private let type: GGUFFile.CellType
    private let family: Family
    private var found: [Weight: WeightFiles.Location] = [:]
    /// Told to the user.
    package private(set) var notes: [String] = []

    private var architecture: Architecture { directory.architecture }
    private var attention: Attention { architecture.blocks[0].attention }

    /// llama.cpp's architectures.
    private enum Family: String {
        case llama, qwen2, qwen3, gpt2, gptneox, phi3, gemma2, gemma3

        init?(modelType: String) {
            switch modelType {
            case "mistral": self = .llama
            case "gpt_neox": self = .gptneox
            case "gemma3_text": self = .gemma3
            default: self.init(rawValue: modelType)
            }
        }
    }

    /// - Parameter type: of the matrices; nil = as most of the model is stored. Vectors are always f32.
    /// - Throws: `KeelError` (badData) for a model that llama.cpp has no architecture for.
    package init(_ directory: ModelDirectory, type: GGUFFile.CellType?) throws {
        self.directory = directory
        let stored: GGUFFile.CellType =
            switch directory.weights.commonType {
            case .bf16: .bf16
            case .f16: .f16
            default: .f32
            }
        self.type = type ?? stored
        let modelType = try directory.config.modelType()
        guard let family = Family(modelType: modelType) else {
            throw directory.config.unsupported("model_type", "export of \(modelType)")
        }
        self.family = family
        guard directory.architecture.score == nil else {
            throw directory.config.unsupported(
                "architectures", "export of a reward model", known: "language models are")
        }
        for (weight, location) in try directory.match() {
            if let location { found[weight] = location }
        }
        try refuseWhatDiffers()
    }

    /// Everything but the tokenizer.
    ///
    /// - Parameter name: what programs call the model.
    package mutating func file(name: String) throws -> GGUFFile {
        var file = GGUFFile()
        file.set("general.architecture", .string(family.rawValue))
        file.set("general.type", .string("model"))
        file.set("general.name", .string(name))
        file.set("general.file_type", .u32(type.fileType))
        file.set("general.quantization_version", .u32(2))
        describe(&file)
        try addTensors(&file)
        return file
    }

    // MARK: - Hyperparameters

    /// The positions of the layers that see all, which say how far they reach where layers differ.
    private var stretched: Rope? {
        let blocks = architecture.blocks
        return (blocks.first { $0.attention.window == nil } ?? blocks[0]).attention.rope
    }

    private mutating func describe(_ file: inout GGUFFile) {
        func set(_ key: String, _ value: GGUFFile.Value?) {
            file.set("\(family.rawValue).\(key)", value)
        }
        let inner = architecture.blocks[0].mlp.down.weight
        let isInOut = architecture.blocks[0].mlp.down.layout == .inOut
        set("vocab_size", .u32(architecture.vocabularySize))
        // What llama.cpp can stretch is longer than what is trained.
        let whole = directory.config["max_position_embeddings"]?.int
        set("context_length", .u32(max(whole ?? 0, architecture.contextLength)))
        set("embedding_length", .u32(architecture.hiddenSize))
        set("block_count", .u32(architecture.blocks.count))
        set("feed_forward_length", .u32(isInOut ? inner.shape[0] : inner.shape[1]))
        set("attention.head_count", .u32(attention.heads))
        set("attention.head_count_kv", .u32(attention.kvHeads))
        switch architecture.finalNorm.kind {
        case .rms: set("attention.layer_norm_rms_epsilon", .f32(architecture.finalNorm.eps))
        case .layer: set("attention.layer_norm_epsilon", .f32(architecture.finalNorm.eps))
        }
        if family != .gpt2, family != .gptneox {
            set("attention.key_length", .u32(attention.headSize))
            set("attention.value_length", .u32(attention.headSize))
        }
        if family == .gptneox {
            set("use_parallel_residual", .bool(architecture.blocks[0].isParallel))
        }
        if let window = architecture.blocks.lazy.compactMap(\.attention.window).first {
            set("attention.sliding_window", .u32(window))
        }
        set("attn_logit_softcapping", attention.softcap.map { .f32(Double($0)) })
        set("final_logit_softcapping", architecture.logitSoftcap.map { .f32(Double($0)) })
        guard let rope = stretched else { return }
        set("rope.dimension_count", .u32(2 * rope.frequencies.count))
        set("rope.freq_base", .f32(rope.theta))
        if family == .gemma3, let local = attention.rope, local.theta != rope.theta {
            set("rope.freq_base_swa", .f32(local.theta))
        }
        switch rope.scaling {
        // Llama 3's factors are a tensor; what grows with the length has no key.
        case nil, .llama3, .dynamic: break
        case .longrope(_, _, let context, let attention):
            set("rope.scaling.type", .string("longrope"))
            set("rope.scaling.original_context_length", .u32(context))
            set("rope.scaling.attn_factor", .f32(attention))
        case .linear(let factor):
            set("rope.scaling.type", .string("linear"))
            set("rope.scaling.factor", .f32(factor))
        case .yarn(let factor, let fast, let slow, let context, let attention, _):
            set("rope.scaling.type", .string("yarn"))
            set("rope.scaling.factor", .f32(factor))
            set("rope.scaling.original_context_length", .u32(Int(context)))
            set("rope.scaling.yarn_beta_fast", .f32(fast))
            set("rope.scaling.yarn_beta_slow", .f32(slow))
            let usual = factor <= 1 ? 1 : 0.1 * log(factor) + 1
            set("rope.scaling.attn_factor", .f32(attention / usual))
        }
        if family == .phi3, rope.reach == nil {
            set("rope.scaling.original_context_length", .u32(architecture.contextLength))
        }
    }

    /// What llama.cpp's code takes for granted.
    private mutating func refuseWhatDiffers() throws {
        let blocks = architecture.blocks
        func refuse(_ key: String, _ what: String) -> KeelError {
            directory.config.unsupported(key, "export of a \(family.rawValue) with \(what)")
        }
        let windows = blocks.map { $0.attention.window != nil }
        let key = directory.config["layer_types"] == nil ? "sliding_window" : "layer_types"
        switch family {
        case .gemma2, .gemma3:
            let period = family == .gemma2 ? 2 : 6
            if windows != blocks.indices.map({ ($0 + 1) % period != 0 }) {
                throw refuse(key, "other windows than all but every \(period). layer")
            }
        case .phi3: break
        default:
            guard let window = blocks.lazy.compactMap(\.attention.window).first else { break }
            if window < architecture.contextLength {
                notes.append(
                    "llama.cpp gives a \(family.rawValue) no sliding window: its numbers differ beyond "
                        + "\(window) tokens")
            }
        }
        let wanted: [MLP.Activation] =
            switch family {
            case .gpt2, .gemma2, .gemma3: [.geluTanh]
            case .gptneox: [.geluTanh, .geluErf]
            default: [.silu]
            }
        guard wanted.contains(blocks[0].mlp.activation) else {
            throw refuse("hidden_act", "this activation")
        }
        if blocks[0].mlp.activation == .geluErf {
            notes.append("llama.cpp approximates GELU by tanh: log-probs differ by about 1e-3")
        }
        if family != .llama, case .llama3 = stretched?.scaling {
            throw refuse("rope_scaling", "Llama 3's rotary scaling")
        }
        switch (family, stretched?.scaling) {
        case (_, nil), (_, .dynamic), (.llama, _), (.phi3, .longrope): break
        case (.phi3, _), (.gptneox, _), (.gemma2, _), (_, .longrope):
            throw refuse("rope_scaling", "stretched positions")
        default: break
        }
    }

    // MARK: - Tensors

    private func addTensors(_ file: inout GGUFFile) throws {
        add(&file, "token_embd.weight", architecture.embedding)
        if let positions = architecture.positions {
            add(&file, "position_embd.weight", positions, isVector: true)
        }
        for (i, block) in architecture.blocks.enumerated() {
            add(&file, block, "blk.\(i).")
        }
        add(&file, "output_norm", architecture.finalNorm)
        if let head = architecture.head {
            add(&file, "output.weight", head)
        } else if family == .gptneox {
            // The only architecture that does not take the embedding where there is no head.
            add(&file, "output.weight", architecture.embedding)
        }
        func addDivisors(_ divisors: [Float], _ name: String) {
            file.items.append(
                GGUFFile.Item(
                    name: name, shape: [divisors.count], type: .f32, cells: { divisors }))
        }
        guard let rope = stretched else { return }
        switch rope.scaling {
        case .llama3:
            let plain = Rope(theta: rope.theta, dimensions: 2 * rope.frequencies.count)
            addDivisors(
                zip(plain.frequencies, rope.frequencies).map { $0 / $1 },
                "rope_freqs.weight")
        case .longrope(let short, let long, _, _):
            addDivisors(short, "rope_factors_short.weight")
            addDivisors(long, "rope_factors_long.weight")
        case nil, .linear, .yarn, .dynamic: break
        }
    }

    private func add(_ file: inout GGUFFile, _ block: Block, _ layer: String) {
        add(&file, layer + "attn_norm", block.attentionNorm)
        let attention = block.attention
        // llama.cpp scales scores in its own way: what is missing goes into the queries.
        let queryScale = abs(attention.scale / ownScale - 1) < 1e-6 ? 1 : attention.scale / ownScale
        let before = attention.queryNorm == nil ? queryScale : 1
        let queries = attention.heads * attention.headSize
        switch attention.projection {
        case .separate(let query, let key, let value):
            // The architecture llama turns neighbours, Hugging Face's turns halves.
            let turns = family == .llama ? attention.headSize : nil
            add(&file, layer + "attn_q", query, interleaving: turns, scaled: (queries, before))
            add(&file, layer + "attn_k", key, interleaving: turns)
            add(&file, layer + "attn_v", value)
        case .fused(let all): add(&file, layer + "attn_qkv", all, scaled: (queries, before))
        case .interleaved(let all):
            add(&file, layer + "attn_qkv", all, unweaving: attention, scaled: (queries, before))
        }
        if let norm = attention.queryNorm {
            add(&file, layer + "attn_q_norm", norm, scale: queryScale)
        }
        if let norm = attention.keyNorm { add(&file, layer + "attn_k_norm", norm) }
        add(&file, layer + "attn_output", attention.output)
        if let norm = block.attentionOutputNorm { add(&file, layer + "post_attention_norm", norm) }
        add(&file, layer + "ffn_norm", block.mlpNorm)
        switch block.mlp.kind {
        case .plain(let up), .fused(let up): add(&file, layer + "ffn_up", up)
        case .gated(let gate, let up):
            add(&file, layer + "ffn_gate", gate)
            add(&file, layer + "ffn_up", up)
        }
        add(&file, layer + "ffn_down", block.mlp.down)
        if let norm = block.mlpOutputNorm { add(&file, layer + "post_ffw_norm", norm) }
    }

    /// What llama.cpp multiplies scores with: 1 / sqrt(head), or by hidden / heads in the largest Gemmas.
    private var ownScale: Float {
        let isLargest =
            family == .gemma2 && architecture.blocks.count == 46
            || family == .gemma3 && architecture.blocks.count == 62
        let size = isLargest ? architecture.hiddenSize / attention.heads : attention.headSize
        return Float(1 / Double(size).squareRoot())
    }

    private func add(
        _ file: inout GGUFFile, _ name: String, _ norm: Norm, scale: Float = 1
    ) {
        var offset: Float = 0
        if case .rms(let own) = norm.kind { offset = own }
        add(&file, name + ".weight", norm.weight, isVector: true) { cells in
            offset == 0 && scale == 1 ? cells : cells.map { ($0 + offset) * scale }
        }
        if let bias = norm.bias { add(&file, name + ".bias", bias, isVector: true) }
    }

    /// - Parameters:
    ///   - headSize: the rows of each head from halves to neighbours; nil = as they are.
    ///   - heads: the rows from head after head to all queries, all keys, all values.
    ///   - scaled: so many rows, then, times a number.
    private func add(
        _ file: inout GGUFFile, _ name: String, _ linear: Linear, interleaving headSize: Int? = nil,
        unweaving heads: Attention? = nil, scaled: (rows: Int, by: Float) = (0, 1)
    ) {
        var shape = linear.weight.shape
        let isInOut = linear.layout == .inOut
        if isInOut { shape.swapAt(0, 1) }
        let (rows, width) = (shape[0], shape[1])
        let order =
            headSize.map { GGUFExport.neighbours(rows, headSize: $0) }
            ?? heads.map { GGUFExport.apart(rows, headSize: $0.headSize) }
        add(&file, name + ".weight", linear.weight, shape: shape) { cells in
            let cells = isInOut ? GGUFExport.transposed(cells, width, rows) : cells
            return GGUFExport.scaled(
                GGUFExport.picked(cells, order, width: width), scaled.rows * width, scaled.by)
        }
        if let bias = linear.bias {
            add(&file, name + ".bias", bias, isVector: true) {
                GGUFExport.scaled(
                    GGUFExport.picked($0, order, width: 1), scaled.rows, scaled.by)
            }
        }
    }

    private func add(
        _ file: inout GGUFFile, _ name: String, _ weight: Weight, shape: [Int]? = nil,
        isVector: Bool = false, _ change: @escaping ([Float]) -> [Float] = { $0 }
    ) {
        guard let location = found[weight] else {
            preconditionFailure("\(weight.name) not matched")
        }
        file.items.append(
            GGUFFile.Item(
                name: name, shape: shape ?? weight.shape, type: isVector ? .f32 : type,
                cells: {
                    change(try location.tensor(dtype: .f32, device: .cpu(threads: 1)).floats())
                }))
    }

    // MARK: - Orders

    /// For each new row the old one: pairs (i, i + half) of a head become neighbours.
    private static func neighbours(_ rows: Int, headSize: Int) -> [Int] {
        (0..<rows).map { row in
            let (head, at) = row.quotientAndRemainder(dividingBy: headSize)
            return head * headSize + (at % 2) * (headSize / 2) + at / 2
        }
    }

    /// For each new row the old one: heads of query, key, value become all queries, all keys, all values.
    private static func apart(_ rows: Int, headSize: Int) -> [Int] {
        let heads = rows / (3 * headSize)
        return (0..<rows).map { row in
            let (part, rest) = row.quotientAndRemainder(dividingBy: heads * headSize)
            let (head, at) = rest.quotientAndRemainder(dividingBy: headSize)
            return (head * 3 + part) * headSize + at
        }
    }

    private static func picked(_ cells: [Float], _ order: [Int]?, width: Int) -> [Float] {
        guard let order else { return cells }
        var out: [Float] = []
        out.reserveCapacity(cells.count)
        for row in order { out += cells[row * width..<(row + 1) * width] }
        return out
    }

    /// The first `count` cells times `factor`.
    private static func scaled(_ cells: [Float], _ count: Int, _ factor: Float) -> [Float] {
        guard factor != 1 else { return cells }
        var out = cells
        for i in 0..<count { out[i] *= factor }
        return out
    }

    /// `[rows, width]` as `[width, rows]`.
    private static func transposed(_ cells: [Float], _ rows: Int, _ width: Int) -> [Float] {
        var out = [Float](repeating: 0, count: cells.count)
        for row in 0..<rows {
            for at in 0..<width { out[at * rows + row] = cells[row * width + at] }
        }
        return out
    }
}
