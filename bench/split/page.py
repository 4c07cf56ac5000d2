# A page behind twisted.web.distrib: "back SOCKET" serves it, "front HOST:PORT SOCKET" has the port.
import sys

from twisted.internet import reactor
from twisted.spread import pb
from twisted.web import distrib, resource, server


class Page(resource.Resource):
    isLeaf = True

    def __init__(self, body):
        super().__init__()
        self.body = body

    def render_GET(self, request):
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return self.body

    def render_POST(self, request):
        request.setHeader(b"Content-Type", b"text/plain; charset=utf-8")
        return b"%d\n" % len(request.content.read())


if sys.argv[1] == "back":
    root = resource.Resource()
    root.putChild(b"page", Page(b"a page of text, " * 64))
    root.putChild(b"large", Page(b"many more text, " * 4096))
    root.putChild(b"post", Page(b""))
    publisher = distrib.ResourcePublisher(server.Site(root))
    reactor.listenUNIX(sys.argv[2], pb.PBServerFactory(publisher), mode=0o777)
else:
    host, port = sys.argv[2].split(":")
    front = server.Site(distrib.ResourceSubscription("unix", sys.argv[3]))
    reactor.listenTCP(int(port), front, interface=host, backlog=1024)
reactor.run()
