import Foundation
import KeelBridge
import KeelCore
import KeelHost
import Testing

/// Runs the built plugins as `keel plugin eval` does: found by name among the built files, loaded with dlopen.
struct Workbench {
    /// The folder of the built products, beside the test bundle.
    static let products = URL(fileURLWithPath: CommandLine.arguments[0]).deletingLastPathComponent()
        .path

    /// Components that share a library, and its name.
    static let libraries = [
        "alol_seq": "alol", "alol_ref_free": "alol", "alol_kl": "alol", "rlol": "alol",
        "wbc": "alol", "rgold": "alol",
    ]

    /// One catalog for all tests: a plugin file is loaded once.
    static let catalog = PluginCatalog(
        searchPaths: [products],
        cacheFolder: FileManager.default.temporaryDirectory.appendingPathComponent(
            "keel-plugin-tests"
        ).path)

    /// The answer of `keel plugin eval NAME` to one request.
    static func eval(_ plugin: String, _ request: JSON, f32: Bool = false) throws -> JSON {
        var options = PluginEval.Options()
        options.precision = f32 ? .f32 : .f64
        let path = "\(products)/libkeel-\(libraries[plugin] ?? plugin).so#\(plugin)"
        return try PluginEval(plugin: path, options: options, catalog: catalog).answer(request)
    }

    /// A request with gradients; columns are shapes and cells.
    static func request(
        rows: Int, params: JSONObject = JSONObject(), columns: [(String, [Int], [Double])],
        more: JSONObject = JSONObject()
    ) -> JSON {
        var object: JSONObject = ["rows": JSON(rows), "params": .object(params), "grad": true]
        var all = JSONObject()
        for (name, shape, cells) in columns {
            all[name] = .object([
                "shape": .array(shape.map { JSON($0) }), "data": .array(cells.map { .double($0) }),
            ])
        }
        object["columns"] = .object(all)
        for (key, value) in more { object[key] = value }
        return .object(object)
    }
}

extension JSON {
    /// All numbers of `{"shape", "data"}`, of a list or of a number; "nan", "inf" and "-inf" too.
    var cells: [Double] {
        if let data = self["data"] { return data.cells }
        if let list = array { return list.flatMap(\.cells) }
        if let text = string {
            return [["nan": Double.nan, "inf": .infinity, "-inf": -.infinity][text] ?? .nan]
        }
        return [double ?? .nan]
    }

    /// The value at "grads.logprobs": only the first dot separates.
    func at(_ path: String) throws -> JSON {
        let parts = path.split(separator: ".", maxSplits: 1).map(String.init)
        let head = try #require(self[parts[0]], "no \(parts[0]) in the answer")
        return parts.count == 1 ? head : try #require(head[parts[1]], "no \(path) in the answer")
    }
}

/// Whether `got` is within `rtol` of `want`, relative to each cell, plus `atol`.
func expectClose(
    _ got: [Double], _ want: [Double], rtol: Double, atol: Double, _ what: String,
    sourceLocation: SourceLocation = #_sourceLocation
) {
    #expect(got.count == want.count, "\(what)", sourceLocation: sourceLocation)
    for (index, (a, b)) in zip(got, want).enumerated() where !(a == b || a.isNaN && b.isNaN) {
        #expect(
            abs(a - b) <= rtol * abs(b) + atol, "\(what) [\(index)]: \(a), not \(b)",
            sourceLocation: sourceLocation)
    }
}
